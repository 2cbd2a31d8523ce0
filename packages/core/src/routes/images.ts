import type { Handler } from '../http/handler.js'
import { type MediaRouteOptions, mediaRoute } from './media-route.js'

export type ImagesOptions = MediaRouteOptions

/**
 * `POST /v1/images/generations`: pictures from words, handed on to a provider that speaks OpenAI's API; with `stream: true` as events.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`, `decision`.
 *
 * @throws TollgateError `config_invalid` for wrong options; `invalid_request`, `invalid_json`, `model_not_found`, `upstream_*`, `timeout`, …
 * @example app.post('/v1/images/generations', imageGenerations({ service }))
 */
export function imageGenerations(options: ImagesOptions): Handler {
  return mediaRoute('imageGenerations', '/images/generations', options)
}

/** {@link imageGenerations}, for `POST /v1/images/edits`: pictures from pictures, as a form whose files are streamed, or as JSON. */
export function imageEdits(options: ImagesOptions): Handler {
  return mediaRoute('imageEdits', '/images/edits', options)
}

/** {@link imageGenerations}, for `POST /v1/images/variations`, as a form. */
export function imageVariations(options: ImagesOptions): Handler {
  return mediaRoute('imageVariations', '/images/variations', options)
}
