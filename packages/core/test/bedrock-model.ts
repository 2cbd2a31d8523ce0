import { onTestFinished } from 'vitest'
import type { Call } from '../src/inference/model.js'
import type { GenerateInput, Part } from '../src/inference/task.js'
import { type BedrockOptions, bedrockProvider } from '../src/providers/bedrock.js'
import { bedrockCredentials, bedrockRegion, bedrockUpstream } from './bedrock-upstream.js'
import type { UpstreamScript } from './fixture-upstream.js'

export const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
export const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }
export const claude = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0'
export const nova = 'amazon.nova-2-lite-v1:0'
export const llama = 'meta.llama3-3-70b-instruct-v1:0'

export async function start(
  scripts: Record<string, UpstreamScript> = {},
  options: Partial<BedrockOptions> = {},
  id = claude,
) {
  const upstream = await bedrockUpstream(scripts)
  const proof = options.apiKey === undefined ? { credentials: bedrockCredentials } : {}
  const provider = bedrockProvider({ baseUrl: upstream.baseUrl, region: bedrockRegion, ...proof, ...options })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('generate', id)
  if (model === undefined) throw new Error('no model')
  return { upstream, provider, model }
}

export async function collect(parts: AsyncIterable<Part<'generate'>> | undefined): Promise<Part<'generate'>[]> {
  const all: Part<'generate'>[] = []
  for await (const part of parts ?? []) all.push(part)
  return all
}

export const textOf = (parts: readonly Part<'generate'>[]) =>
  parts.map((part) => (part.type === 'text' ? part.text : '')).join('')

/** What is sent to a model. */
export async function sentTo(id: string, input: Partial<GenerateInput>) {
  const { model, upstream } = await start({}, {}, id)
  await model.run({ ...hello, ...input }, call)
  return upstream.calls.at(-1)?.body ?? {}
}
