import { TollgateError } from '../errors.js'
import { type OpenAiUsage, usageFromOpenAi } from '../wire/openai-usage.js'
import type { GenerateWire } from './generate-model.js'
import { finishReason } from './openai-chat.js'
import { asksForUsage, chatWatch, choicesAskedFor } from './openai-chat-watch.js'

interface Choice {
  text?: unknown
  finish_reason?: unknown
}

/** OpenAI's older completions, for callers who speak them to an upstream that does. */
export function openAiCompletionsWire(includesUsage: boolean): GenerateWire {
  return {
    dialect: 'openai-completions',
    request({ native }, model, stream) {
      const body: Record<string, unknown> = { ...native?.body, model }
      if (stream && includesUsage) {
        body['stream_options'] = { ...(body['stream_options'] as object | null | undefined), include_usage: true }
      }
      return { path: '/completions', body }
    },
    response(upstream, answer) {
      const [first] = choicesOf(answer)
      if (typeof first?.text !== 'string') {
        throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no choices.`)
      }
      return { text: first.text, toolCalls: [], finishReason: finishReason(first.finish_reason) }
    },
    usage: (answer) => usageFromOpenAi((answer as { usage?: OpenAiUsage | null }).usage),
    written: (answer) => choicesOf(answer).map(writtenInChoice),
    watch(upstream, { native }) {
      const body = native?.body ?? {}
      const prompts = Array.isArray(body['prompt']) && typeof body['prompt'][0] !== 'number' ? body['prompt'].length : 1
      return chatWatch(upstream, choicesAskedFor(body) * prompts, !asksForUsage(body), writtenInChoice)
    },
  }
}

function choicesOf(answer: object): Choice[] {
  const { choices } = answer as { choices?: unknown }
  return Array.isArray(choices) ? choices.filter((choice) => typeof choice === 'object' && choice !== null) : []
}

function writtenInChoice({ text }: Choice): string {
  return typeof text === 'string' ? text : ''
}
