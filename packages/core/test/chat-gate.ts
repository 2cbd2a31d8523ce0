import OpenAI from 'openai'
import { onTestFinished } from 'vitest'
import type { RequestContext } from '../src/http/context.js'
import { listener, middleware } from '../src/http/handler.js'
import { onEnd } from '../src/http/observe.js'
import { inferenceService } from '../src/inference/service.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { byteTokenizer } from '../src/providers/count-tokens.js'
import { echoProvider } from '../src/providers/echo.js'
import { type OpenAiCompatibleOptions, openAiCompatible } from '../src/providers/openai-compatible.js'
import { chatCompletions } from '../src/routes/chat-completions.js'
import { listen } from './hosts.js'
import { openAiUpstream, type UpstreamScript, upstreamKey } from './openai-upstream.js'

export const messages = [{ role: 'user' as const, content: 'Say hello to the whole world' }]
export const quiet = { error: () => {}, warn: () => {} }

/** A gate over a fixture upstream, with the contexts of all requests as they were at their ends. */
export async function gate(
  scripts: Record<string, UpstreamScript> = {},
  options: Partial<OpenAiCompatibleOptions> = {},
) {
  const upstream = await openAiUpstream(scripts)
  const service = inferenceService({
    providers: [
      echoProvider({ tokenizer: byteTokenizer }),
      openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey, ...options }),
    ],
    aliases: { fast: 'gpt-test' },
  })
  onTestFinished(async () => {
    await service.close()
    await upstream.close()
  })
  const ends: RequestContext[] = []
  const waiting: Array<(context: RequestContext) => void> = []
  const observe = middleware('observe', (context, req, res) => {
    onEnd(req, res, () => {
      ends.push(context)
      waiting.shift()?.(context)
    })
  })
  const nextEnd = () => new Promise<RequestContext>((resolve) => waiting.push(resolve))
  return { upstream, service, ends, nextEnd, observe, handler: chatCompletions({ service }) }
}

/** The gate alone on a port, called by the official SDK or by `post`. */
export async function start(
  scripts: Record<string, UpstreamScript> = {},
  options: Partial<OpenAiCompatibleOptions> = {},
) {
  const made = await gate(scripts, options)
  const { url } = await listen(listener(made.observe, made.handler, errorHandler({ log: quiet })))
  const client = new OpenAI({ apiKey: 'sk-caller', baseURL: url, maxRetries: 0 })
  return { ...made, url, client }
}

export function post(url: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body), ...init })
}

export async function collected<T>(parts: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const part of parts) all.push(part)
  return all
}

/** The data of each event of a stream. */
export async function dataOf(response: Response): Promise<string[]> {
  return (await response.text()).split('\n\n').flatMap((event) => (event.startsWith('data: ') ? [event.slice(6)] : []))
}
