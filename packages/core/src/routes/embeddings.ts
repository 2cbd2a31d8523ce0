import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { InferenceService } from '../inference/service.js'
import type { EmbedInput } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { promptTokens } from '../usage.js'
import { type EmbeddingsRequest, type EmbeddingsResponse, embeddingsRequest } from '../wire/openai-embeddings.js'
import { parseWith } from '../wire/parse.js'
import { bodyOptionsSchema, invoke, type OnDisconnect, onDisconnectSchema, serviceSchema } from './invoke.js'

export interface EmbeddingsOptions {
  readonly service: InferenceService
  readonly body?: BodyOptions
  /** What becomes of a call whose caller leaves. Default `abort`: it is stopped, and its input is paid for. `drain`: it comes to its end, and is billed by what the provider says. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const optionsSchema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  onDisconnect: onDisconnectSchema,
})

/**
 * `POST /v1/embeddings`, OpenAI's own shapes: a text, texts, or token ids; numbers or base64 (little-endian float32, which OpenAI's SDKs
 * ask for by default).
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError `config_invalid` for wrong options; `invalid_request`, `invalid_json`, `model_not_found`, `upstream_*`, `timeout`, …
 * @example app.post('/v1/embeddings', embeddings({ service }))
 */
export function embeddings(options: EmbeddingsOptions): Handler {
  const { onDisconnect } = checkedOptions('embeddings', optionsSchema, options)
  const { service, body: bodyOptions } = options
  return endpoint('embeddings', async (context, req, res) => {
    context.route ??= '/v1/embeddings'
    context.dialect ??= 'openai'
    onlyPost(req)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(embeddingsRequest, raw)
    const input: EmbedInput = {
      inputs: inputsOf(body.input),
      ...(body.dimensions === undefined ? {} : { dimensions: body.dimensions }),
      native: { dialect: 'openai-embeddings', body: raw as Readonly<Record<string, unknown>> },
    }
    const { result, target } = await invoke(context, req, res, service, 'embed', body.model, input, onDisconnect)
    const { native, vectors } = result.output
    if (native !== undefined) {
      sendBytes(res, 200, native.bytes, 'application/json; charset=utf-8')
      return
    }
    const tokens = promptTokens(result.usage)
    const encode = body.encoding_format === 'base64' ? toBase64 : toNumbers
    const answer: EmbeddingsResponse = {
      object: 'list',
      data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
      model: target.model,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    }
    sendJson(res, 200, answer)
  })
}

function inputsOf(input: EmbeddingsRequest['input']): ReadonlyArray<string | readonly number[]> {
  if (typeof input === 'string') return [input]
  const [first] = input
  return typeof first === 'number' ? [input as number[]] : (input as string[] | number[][])
}

function toNumbers(vector: Float32Array): number[] {
  return Array.from(vector)
}

function toBase64(vector: Float32Array): string {
  const bytes = Buffer.allocUnsafe(vector.length * 4)
  for (const [index, number] of vector.entries()) bytes.writeFloatLE(number, index * 4)
  return bytes.toString('base64')
}
