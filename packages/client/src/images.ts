import type { ImageEvent, ImagesRequest, ImagesResponse } from '@tollgate/core/wire/openai-images'
import { type CallSpec, jsonBody, type Sender } from './call.js'
import { createItemStream, readStream, type StreamStatus } from './event-stream.js'
import { type FileInput, formBody } from './form-body.js'
import { callJson } from './json-call.js'
import type { CallOptions } from './options.js'
import type { ResponseInfo } from './response-info.js'

/** `POST /v1/images/edits`. */
export interface ImageEditRequest extends ImagesRequest {
  /** What is changed, or put together. */
  image: FileInput | readonly FileInput[]
  /** Where it is transparent, there the first picture is changed. */
  mask?: FileInput
}

/** `POST /v1/images/variations`. */
export interface ImageVariationRequest extends Omit<ImagesRequest, 'prompt'> {
  image: FileInput
}

/** Pictures as they are made, read once: by `for await`, to the end that the server announces. */
export interface ImageStream extends AsyncIterable<ImageEvent> {
  readonly status: StreamStatus
  /** What came with the answer; there once the stream is open. */
  readonly response: ResponseInfo | undefined
}

interface MakesImages<Request> {
  (request: Request, options?: CallOptions): Promise<ImagesResponse>
  /** With pictures that are not done, if `partial_images` asks for them. */
  stream(request: Request & { partial_images?: number }, options?: CallOptions): ImageStream
}

export interface Images {
  /** `POST /v1/images/generations`: pictures from words. */
  readonly generate: MakesImages<ImagesRequest>
  /** `POST /v1/images/edits`: pictures from pictures. */
  readonly edit: MakesImages<ImageEditRequest>
  /** `POST /v1/images/variations`. */
  vary(request: ImageVariationRequest, options?: CallOptions): Promise<ImagesResponse>
}

type Body = Required<Pick<CallSpec, 'path' | 'body' | 'contentType'>>

export function createImages(sender: Sender): Images {
  const whole = (spec: Body, options: CallOptions) =>
    callJson<ImagesResponse>(sender, { ...spec, method: 'POST' }, options, ({ data }) => Array.isArray(data))

  const making = <Request extends object>(
    name: string,
    bodyOf: (request: Request, more: object) => Body,
  ): MakesImages<Request> =>
    Object.assign(
      async (request: Request, options: CallOptions = {}) => whole(bodyOf(request, { stream: undefined }), options),
      {
        stream(request: Request, options: CallOptions = {}): ImageStream {
          const spec = bodyOf(request, { stream: true })
          const stream = createItemStream<ImageEvent>(
            sender,
            spec,
            {
              name: `images.${name}.stream`,
              isItem: ({ type }) => typeof type === 'string' && /^image_(?:generation|edit)\./.test(type),
              begins: () => true,
              // Several pictures are done one after the other.
              ends: ({ type }) => type.endsWith('.completed'),
              add: () => {},
              text: '',
            },
            options,
          )
          return readStream(stream, {})
        },
      },
    )

  return {
    generate: making('generate', (request, more) => ({
      path: '/v1/images/generations',
      contentType: 'application/json',
      body: jsonBody(request, (given) => ({ ...given, ...more })),
    })),
    edit: making('edit', (request, more) => ({
      path: '/v1/images/edits',
      ...formBody(request, ['image', 'mask'], more),
    })),
    vary: async (request, options = {}) =>
      whole({ path: '/v1/images/variations', ...formBody(request, ['image']) }, options),
  }
}
