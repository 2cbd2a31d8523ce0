import type { OnnxModelOptions } from './onnx-provider.js'

const shipped = ['language-id-1.0.0', 'iris-1.0.0'] as const

/**
 * The two models this package ships: `language-id` (`{ text }` → one of 50 languages) and `iris` (`{ features }` → one of three species).
 * How they were trained: `docs/guides/train-embedded-models.md`.
 *
 * @example onnxProvider({ models: embeddedModels() })
 */
export function embeddedModels(): OnnxModelOptions[] {
  // Both `src` and `dist` lie beside `models`.
  return shipped.map((name) => ({ manifest: new URL(`../models/${name}.json`, import.meta.url) }))
}
