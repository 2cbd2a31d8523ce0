import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { onTestFinished } from 'vitest'
import { contextOf } from '../src/http/context.js'
import { dialect } from '../src/http/dialect.js'
import { endpoint, type Handler } from '../src/http/handler.js'
import { onEnd } from '../src/http/observe.js'
import type { Model } from '../src/inference/model.js'
import type { Provider } from '../src/inference/provider.js'
import { inferenceService } from '../src/inference/service.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { type AnthropicOptions, anthropicProvider } from '../src/providers/anthropic.js'
import { bedrockProvider } from '../src/providers/bedrock.js'
import { geminiProvider } from '../src/providers/gemini.js'
import { openAiCompatible } from '../src/providers/openai-compatible.js'
import { chatCompletions } from '../src/routes/chat-completions.js'
import { completions } from '../src/routes/completions.js'
import { embeddings } from '../src/routes/embeddings.js'
import { countTokens, messages } from '../src/routes/messages.js'
import { responses } from '../src/routes/responses.js'
import type { Usage } from '../src/usage.js'
import type { Guard } from '../src/wrappers/guard.js'
import { guarded } from '../src/wrappers/guarded.js'
import { anthropicKey, anthropicUpstream } from './anthropic-upstream.js'
import { bedrockCredentials, bedrockRegion, bedrockUpstream } from './bedrock-upstream.js'
import type { UpstreamScript } from './fixture-upstream.js'
import { geminiKey, geminiUpstream } from './gemini-upstream.js'
import { type Host, hosts } from './hosts.js'
import { openAiUpstream, upstreamKey } from './openai-upstream.js'

export interface Ended {
  readonly usage: Usage | undefined
  readonly error: string | undefined
  readonly aborted: boolean
  readonly flags: readonly string[] | undefined
}

/** Both surfaces in front of both wires: models that begin with `claude` are Anthropic's, with `gemini` Google's, with `eu.` Bedrock's, all others OpenAI's (with `native` those that have the Responses API); called by the vendors' own SDKs. */
export async function llmGateway(
  scripts: Readonly<Record<string, UpstreamScript>> = {},
  options: Partial<AnthropicOptions> & {
    heartbeatMs?: number
    maxEventBytes?: number
    guards?: readonly Guard[]
    /** Mounted before the routes. */
    before?: readonly Handler[]
  } = {},
) {
  const { heartbeatMs, guards = [], before = [], ...anthropicOptions } = options
  const [openAi, anthropic] = [await openAiUpstream(scripts), await anthropicUpstream(scripts)]
  const [gemini, bedrock] = [await geminiUpstream(scripts), await bedrockUpstream(scripts)]
  const service = inferenceService({
    providers: [
      {
        provider: behind(
          guards,
          anthropicProvider({ apiKey: anthropicKey, baseUrl: anthropic.baseUrl, ...anthropicOptions }),
        ),
        models: ['claude-test', ...Object.keys(scripts).filter((name) => name.startsWith('claude'))],
      },
      {
        provider: behind(guards, geminiProvider({ apiKey: geminiKey, baseUrl: gemini.baseUrl })),
        models: ['gemini-*'],
      },
      {
        provider: behind(
          guards,
          bedrockProvider({ credentials: bedrockCredentials, region: bedrockRegion, baseUrl: bedrock.baseUrl }),
        ),
        models: ['eu.*'],
      },
      {
        provider: behind(
          guards,
          openAiCompatible({ name: 'native', baseUrl: openAi.baseUrl, apiKey: upstreamKey, hasResponses: true }),
        ),
        models: ['native-*'],
      },
      behind(guards, openAiCompatible({ name: 'openai', baseUrl: openAi.baseUrl, apiKey: upstreamKey })),
    ],
  })
  const ended: Ended[] = []
  const watch: Handler = (req, res, next) => {
    const context = contextOf(req, res)
    onEnd(req, res, ({ aborted }) =>
      ended.push({ usage: context.usage, error: context.error, aborted, flags: context.flags }),
    )
    next()
  }
  const beat = heartbeatMs === undefined ? {} : { heartbeatMs }
  const { url } = await (hosts[0] as Host).start(
    watch,
    ...before,
    ['/v1/chat/completions', dialect('openai'), chatCompletions({ service, ...beat })],
    ['/v1/completions', dialect('openai'), completions({ service, ...beat })],
    ['/v1/embeddings', dialect('openai'), embeddings({ service })],
    ['/v1/responses', dialect('openai'), responses({ service, ...beat })],
    ['/v1/messages/count_tokens', dialect('anthropic'), countTokens({ service })],
    ['/v1/messages', dialect('anthropic'), messages({ service, ...beat })],
    endpoint('none', (_context, _req, res) => void res.writeHead(404).end()),
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close(), gemini.close(), bedrock.close()])
  })
  return {
    url,
    openAi,
    anthropic,
    gemini,
    bedrock,
    /** What each request came to, when it is over. */
    ended,
    openAiClient: new OpenAI({ apiKey: 'any', baseURL: `${url}/v1`, maxRetries: 0 }),
    anthropicClient: new Anthropic({ apiKey: 'any', baseURL: url, maxRetries: 0 }),
  }
}

/** A provider with guards before its models. */
function behind(guards: readonly Guard[], provider: Provider): Provider {
  if (guards.length === 0) return provider
  return {
    ...provider,
    model: (task, id, version) => {
      const model = provider.model(task, id, version)
      return model === undefined ? undefined : (guarded(model as Model, { guards }) as typeof model)
    },
  }
}
