import { TollgateError } from '../errors.js'
import type { Call, Model } from '../inference/model.js'
import type { EmbedInput } from '../inference/task.js'
import type { Tokenizer } from '../tokenizer.js'
import { addUsage, isAnything, noUsage, type Usage } from '../usage.js'
import type { BedrockEmbedFamily } from './bedrock-embed-family.js'
import { countTexts, estimatedInputs } from './count-tokens.js'
import type { Upstream } from './http-kit.js'
import { jsonAnswer } from './openai-answer.js'
import { cutAnswer, paid } from './paid-answer.js'
import { requestJson } from './request-json.js'
import { textInputs } from './text-inputs.js'

export interface BedrockEmbedOptions {
  readonly upstream: Upstream
  readonly id: string
  readonly family: BedrockEmbedFamily
  readonly tokenizer: Tokenizer
}

/** Requests of one call at once, where a model takes fewer texts than the call has. */
const mostAtOnce = 8

/** Embeddings by `InvokeModel`: in as many requests as the model needs, which are one call to all others. */
export function bedrockEmbed({ upstream, id, family, tokenizer }: BedrockEmbedOptions): Model<'embed'> {
  const counted = (inputTokens: number): Usage => ({ inputTokens, outputTokens: 0, estimated: true })

  const ask = async (texts: readonly string[], input: EmbedInput, call: Call) => {
    const estimate = () => counted(countTexts(texts, tokenizer))
    const response = await upstream.send(
      {
        method: 'POST',
        path: `/model/${encodeURIComponent(id)}/invoke`,
        accept: 'application/json',
        body: requestJson(upstream.patched(family.body(texts, input))),
      },
      call,
    )
    const { json } = await jsonAnswer(upstream, response, cutAnswer(call, estimate))
    const told = Number(
      response.headers['x-amzn-bedrock-input-token-count'] ?? family.inputTokens(json as Record<string, unknown>),
    )
    const usage = Number.isSafeInteger(told) && told >= 0 ? { ...counted(told), estimated: false } : estimate()
    const vectors = paid(call, usage, () => vectorsOf(upstream.name, family.vectors(json as never), texts.length))
    return { vectors, usage }
  }

  return {
    task: 'embed',
    provider: upstream.name,
    id,
    inputUsage: (input) => estimatedInputs(input, tokenizer),
    async run(input, call) {
      const texts = textInputs(input)
      const batches: Array<readonly string[]> = []
      for (let at = 0; at < texts.length; at += family.mostTexts) batches.push(texts.slice(at, at + family.mostTexts))
      const answers: Array<readonly Float32Array[]> = []
      let failure: { readonly error: unknown } | undefined
      let usage: Usage = { ...noUsage }
      const spent = (more: Usage) => {
        usage = addUsage(usage, more)
      }
      let next = 0
      const work = async (): Promise<void> => {
        // Half of an answer is none: after a failure no more is asked, and what is under way is waited for, since it is paid for.
        while (next < batches.length && failure === undefined) {
          const index = next++
          try {
            const answer = await ask(batches[index] ?? [], input, { ...call, spent })
            spent(answer.usage)
            answers[index] = answer.vectors
          } catch (error) {
            failure ??= { error }
          }
        }
      }
      await Promise.all(Array.from({ length: Math.min(mostAtOnce, batches.length) }, work))
      if (failure === undefined) return { output: { vectors: answers.flat() }, usage }
      // That the caller left is the service's to tell, with all that was asked for.
      if (!call.signal.aborted && isAnything(usage)) call.spent?.(usage)
      throw failure.error
    },
  }
}

function vectorsOf(upstream: string, vectors: readonly unknown[], count: number): Float32Array[] {
  const areWhole = vectors.every(
    (vector): vector is number[] =>
      Array.isArray(vector) && vector.length > 0 && vector.every((number) => typeof number === 'number'),
  )
  if (areWhole && vectors.length === count) return vectors.map((vector) => Float32Array.from(vector as number[]))
  throw new TollgateError(
    'upstream_invalid',
    `The upstream ${upstream} did not answer with an embedding for each input.`,
  )
}
