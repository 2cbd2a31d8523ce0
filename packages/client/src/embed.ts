import type { EmbeddingsRequest, EmbeddingsResponse } from '@tollgate/core/wire/openai-embeddings'
import { jsonBody, type Sender } from './call.js'
import { callJson, misshapen } from './json-call.js'
import type { CallOptions } from './options.js'
import { isObject } from './response-body.js'
import { rememberResponse, responseOf } from './response-info.js'

/** As {@link EmbeddingsRequest}; how the vectors are encoded on the way is the client's affair. */
export interface EmbedRequest extends EmbeddingsRequest {
  encoding_format?: undefined
}

export interface EmbedResponse {
  /** One per input, in the order of the inputs. `Array.from(vector)` makes numbers that JSON can carry. */
  embeddings: Float32Array[]
  model: string
  usage: EmbeddingsResponse['usage']
}

/** Asks for base64, which is a third of the size of numbers in JSON, and takes either. */
export async function embed(sender: Sender, request: EmbedRequest, options: CallOptions): Promise<EmbedResponse> {
  const path = '/v1/embeddings'
  const body = jsonBody(request, (given) => ({ ...given, encoding_format: 'base64' }))
  const answer = await callJson<EmbeddingsResponse>(sender, { method: 'POST', path, body }, options, (answered) => {
    return Array.isArray(answered['data']) && answered['data'].every(isObject)
  })
  const info = responseOf(answer)
  const embeddings: Float32Array[] = []
  for (const { index, embedding } of answer.data) embeddings[index] = toVector(embedding) ?? fail()
  // A place left empty is an input that was not answered.
  if (embeddings.length !== answer.data.length || Object.keys(embeddings).length !== answer.data.length) fail()
  const result = { embeddings, model: answer.model, usage: answer.usage }
  return info === undefined ? result : rememberResponse(result, info)

  function fail(): never {
    throw misshapen(path, { status: info?.status ?? 200, requestId: info?.requestId })
  }
}

function toVector(embedding: unknown): Float32Array | undefined {
  if (Array.isArray(embedding)) return Float32Array.from(embedding)
  if (typeof embedding !== 'string') return undefined
  let bytes: Uint8Array
  try {
    bytes = Uint8Array.from(atob(embedding), (character) => character.charCodeAt(0))
  } catch {
    return undefined
  }
  if (bytes.byteLength % 4 !== 0) return undefined
  // Little-endian, whatever this machine is.
  const view = new DataView(bytes.buffer)
  return Float32Array.from({ length: bytes.byteLength / 4 }, (_, at) => view.getFloat32(at * 4, true))
}
