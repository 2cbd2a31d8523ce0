import type { SpeechRequest, Transcript, TranscriptEvent } from '@tollgate/core/wire/openai-audio'
import { type Sender, send } from './call.js'
import { createItemStream, readStream, type StreamStatus } from './event-stream.js'
import { type FileInput, formBody } from './form-body.js'
import { misshapen } from './json-call.js'
import type { CallOptions } from './options.js'
import { isJson, readJson, readPlain } from './response-body.js'
import { type ResponseInfo, rememberResponse } from './response-info.js'
import { type Speech, speech } from './speech.js'

/** `POST /v1/audio/translations`. What an upstream knows besides passes untouched. */
export interface TranslationRequest {
  /** Default: the server's model for pictures and sound. */
  model?: string
  file: FileInput
  prompt?: string
  /** `json` unless it is said. `text`, `srt` and `vtt` are answered as text, which is then `text`. */
  response_format?: string
  temperature?: number
  [unknown: string]: unknown
}

/** `POST /v1/audio/transcriptions`. */
export interface TranscriptionRequest extends TranslationRequest {
  /** ISO 639-1: `de`. */
  language?: string
  include?: readonly string[]
  timestamp_granularities?: ReadonlyArray<'word' | 'segment'>
  chunking_strategy?: 'auto' | { type: string; [unknown: string]: unknown }
}

/** A transcript as it is written. The request is sent when reading begins, and it is read once: by `for await`, by `text()` or by `final()`. */
export interface TranscriptStream extends AsyncIterable<TranscriptEvent> {
  readonly status: StreamStatus
  /** What came with the answer; there once the stream is open. */
  readonly response: ResponseInfo | undefined
  /** The text, piece by piece. */
  text(): AsyncIterable<string>
  /** Reads to the end. After the stream has been read, the same without reading. */
  final(): Promise<Transcript>
}

export interface Audio {
  /** `POST /v1/audio/speech`: sound from words, streamed. */
  speech(request: SpeechRequest, options?: CallOptions): Promise<Speech>
  /** `POST /v1/audio/transcriptions`: words from sound. */
  readonly transcribe: {
    (request: TranscriptionRequest, options?: CallOptions): Promise<Transcript>
    stream(request: TranscriptionRequest, options?: CallOptions): TranscriptStream
  }
  /** `POST /v1/audio/translations`: English words from sound. */
  translate(request: TranslationRequest, options?: CallOptions): Promise<Transcript>
}

export function createAudio(sender: Sender): Audio {
  const whole = async (path: string, request: TranslationRequest, options: CallOptions): Promise<Transcript> => {
    const { maxResponseBytes } = sender.settings
    const spec = { method: 'POST', path, accept: '*/*', ...formBody(request, ['file'], { stream: undefined }) } as const
    return send(sender, spec, options, async ({ response, info, scope }) => {
      if (!isJson(response.headers)) {
        return rememberResponse({ text: await readPlain(response, maxResponseBytes, scope) }, info)
      }
      const body = await readJson(response, maxResponseBytes, scope)
      if (typeof body['text'] !== 'string') throw misshapen(path, info)
      return rememberResponse(body as object as Transcript, info)
    })
  }

  return {
    speech: async (request, options = {}) => speech(sender, request, options),
    transcribe: Object.assign(
      async (request: TranscriptionRequest, options: CallOptions = {}) =>
        whole('/v1/audio/transcriptions', request, options),
      {
        stream: (request: TranscriptionRequest, options: CallOptions = {}) =>
          createTranscriptStream(sender, request, options),
      },
    ),
    translate: async (request, options = {}) => whole('/v1/audio/translations', request, options),
  }
}

function createTranscriptStream(sender: Sender, request: TranscriptionRequest, options: CallOptions): TranscriptStream {
  let soFar = ''
  let done: Transcript | undefined
  const stream = createItemStream<TranscriptEvent>(
    sender,
    { path: '/v1/audio/transcriptions', ...formBody(request, ['file'], { stream: true }) },
    {
      name: 'audio.transcribe.stream',
      isItem: ({ type }) => typeof type === 'string' && type.startsWith('transcript.text.'),
      begins: () => true,
      ends: ({ type }) => type === 'transcript.text.done',
      add(event) {
        if (event.type === 'transcript.text.delta') soFar += event.delta
        if (event.type !== 'transcript.text.done') return
        const { type: _, ...transcript } = event
        done = transcript
      },
      get text() {
        return soFar
      },
    },
    options,
  )
  return readStream(stream, {
    async *text() {
      for await (const event of stream.take()) if (event.type === 'transcript.text.delta') yield event.delta
    },
    async final() {
      await stream.finish()
      return rememberResponse(done ?? { text: soFar }, stream.response)
    },
  })
}
