import { onTestFinished } from 'vitest'
import type { GatewayConfig } from '../src/gateway/config.js'
import { type GatewayServiceOptions, gatewayService } from '../src/gateway/gateway-service.js'
import type { Call } from '../src/inference/model.js'
import type { GenerateInput } from '../src/inference/task.js'
import type { Principal } from '../src/principal.js'
import { anthropicKey, anthropicUpstream } from './anthropic-upstream.js'
import { defaultText, type UpstreamScript } from './fixture-upstream.js'
import { openAiUpstream, upstreamKey } from './openai-upstream.js'

export const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

export function recorded(principal?: Principal) {
  const dispatched: string[] = []
  const call: Call = {
    signal: new AbortController().signal,
    requestId: 'r',
    dispatching: ({ provider, model }) => void dispatched.push(`${provider}/${model}`),
    ...(principal === undefined ? {} : { principal }),
  }
  return { call, dispatched }
}

export async function start(
  scripts: Record<string, UpstreamScript>,
  more: Omit<GatewayConfig, 'providers'> & { readonly providers?: object } = {},
  options: GatewayServiceOptions = {},
) {
  const [openAi, anthropic] = [await openAiUpstream(scripts), await anthropicUpstream(scripts)]
  const quick = { retry: { baseMs: 0, maxAttempts: 2 } }
  const config: GatewayConfig = {
    ...more,
    providers: {
      gpt: { type: 'openai', baseUrl: openAi.baseUrl, apiKey: { env: 'GPT_KEY' }, models: ['gpt-*'], ...quick },
      claude: { type: 'anthropic', baseUrl: anthropic.baseUrl, models: { sonnet: 'claude-test' }, ...quick },
      ...more.providers,
    },
  }
  const env = { GPT_KEY: upstreamKey, ANTHROPIC_API_KEY: anthropicKey, OTHER: 'sk-other-key-000000000' }
  const service = gatewayService(config, { env, ...options })
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close()])
  })
  const ask = async (model: string, principal?: Principal) => {
    const { call, dispatched } = recorded(principal)
    const text = await service.run('generate', model, hello, call).then(
      ({ output }) => output.text,
      (error: { code: string }) => error.code,
    )
    return [text === defaultText ? 'ok' : text, ...dispatched]
  }
  return { openAi, anthropic, service, ask, config, env }
}
