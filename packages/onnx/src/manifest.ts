import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { configInvalid } from '@tollgate/core/errors'
import { z } from 'zod'

const textInput = z.object({
  kind: z.literal('text'),
  /** Longer texts are refused; UTF-16 code units. Default 10,000. */
  maxLength: z.int().min(1).default(10_000),
  /** Most rows of one call. Default 1,024. */
  maxRows: z.int().min(1).default(1024),
  /**
   * Most rows of one run of the graph, which bounds the memory of long texts. A call with more is several runs, one after the other on
   * the thread. Default 256.
   */
  rowsPerRun: z.int().min(1).default(256),
  /** `character-ngrams` is built in; `custom` needs the `featurizer` option. */
  featurizer: z.enum(['character-ngrams', 'custom']),
  /** Given to the featurizer as they are. */
  parameters: z.record(z.string(), z.unknown()),
})

const featuresInput = z.object({
  kind: z.literal('features'),
  /** Name of the graph's input, float32 [N, names.length]. */
  tensor: z.string().min(1),
  /** What each feature is, in order; as many as a row has. */
  names: z.array(z.string()).min(1),
  /** Most rows of one call. Default 1,024. */
  maxRows: z.int().min(1).default(1024),
})

const output = z.object({
  /** Name of the graph's output, float32 [N, labels.length], each row adding up to 1. */
  tensor: z.string().min(1),
  /** Class names, in the order of the columns. */
  labels: z.array(z.string()).min(1),
  /** Answer all probabilities by class too. Default false. */
  probabilities: z.boolean().default(false),
  /** The label to answer with when all classes are equally likely: the model has seen nothing it knows. Default: the first class. */
  undetermined: z.string().optional(),
  /** Further names for `prediction` and `probability` in the answer. */
  aliases: z.object({ prediction: z.string().optional(), probability: z.string().optional() }).optional(),
})

const manifestSchema = z.object({
  name: z.string().min(1),
  /** Three numbers: `1.0.0`. */
  version: z.string().regex(/^\d+\.\d+\.\d+$/, 'expected three numbers, such as 1.0.0'),
  task: z.literal('predict'),
  description: z.string().optional(),
  /** The `.onnx` file, relative to the manifest. */
  file: z.string().min(1),
  /** Of the `.onnx` file; checked when it is loaded, if given. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/i, 'expected 64 hexadecimal digits')
    .optional(),
  input: z.discriminatedUnion('kind', [textInput, featuresInput]),
  output,
  /** Share of right answers on data held out from training. */
  heldOutAccuracy: z.number().min(0).max(1).optional(),
})

/** A model card that this package can serve from; further members (data, licence, evaluation) are for people. */
export type OnnxManifest = z.output<typeof manifestSchema>

/** A manifest and the path of the file it speaks of. */
export interface ReadManifest {
  readonly manifest: OnnxManifest
  /** Absolute path of the `.onnx` file. */
  readonly file: string
}

/**
 * Reads and checks a model's manifest.
 *
 * @throws TollgateError `config_invalid` when it is missing, not JSON, or not a manifest
 */
export function readManifest(location: string | URL): ReadManifest {
  const path = resolve(typeof location === 'string' ? location : fileURLToPath(location))
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw configInvalid(
      `The model manifest ${path} cannot be read: ${reason}. It is a JSON file beside its .onnx file.`,
    )
  }
  const parsed = manifestSchema.safeParse(json)
  if (!parsed.success) throw configInvalid(`The model manifest ${path} is wrong: ${z.prettifyError(parsed.error)}`)
  return { manifest: parsed.data, file: resolve(dirname(path), parsed.data.file) }
}
