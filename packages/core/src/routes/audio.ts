import type { Handler } from '../http/handler.js'
import { type MediaRouteOptions, mediaRoute } from './media-route.js'

export type AudioOptions = MediaRouteOptions

/**
 * `POST /v1/audio/speech`: sound from words, handed on to a provider that speaks OpenAI's API, and streamed back; with `stream_format: 'sse'` as events.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`, `decision`.
 *
 * @throws TollgateError `config_invalid` for wrong options; `invalid_request`, `invalid_json`, `model_not_found`, `upstream_*`, `timeout`, …
 * @example app.post('/v1/audio/speech', speech({ service }))
 */
export function speech(options: AudioOptions): Handler {
  return mediaRoute('speech', '/audio/speech', options)
}

/** {@link speech}, for `POST /v1/audio/transcriptions`: words from sound, as a form whose file is streamed; with `stream=true` as events. */
export function transcriptions(options: AudioOptions): Handler {
  return mediaRoute('transcriptions', '/audio/transcriptions', options)
}

/** {@link speech}, for `POST /v1/audio/translations`: English words from sound, as a form. */
export function translations(options: AudioOptions): Handler {
  return mediaRoute('translations', '/audio/translations', options)
}
