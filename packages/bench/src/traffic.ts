import { createHmac } from 'node:crypto'

/** What is asked for: one JSON answer, or a stream of Server-Sent Events. */
export type Scenario = 'json' | 'stream'

/** How callers prove who they are. */
export type Credentials = 'none' | 'jwt' | 'api-key'

export const modelName = 'bench-small'
export const chatPath = '/v1/chat/completions'

/** Every connection of the load generator is a caller of its own, with its own token and key. */
export const callerCount = 32

/** Shared by every subject, so that all verify the same tokens. */
export const jwtSecret = 'the-bench-signs-with-this-0123456789abcdef'
export const jwtIssuer = 'tollgate-bench'
export const jwtAudience = 'tollgate-bench'

/** What the upstream wants to see; a gate must never hand a caller's own credentials on. */
export const upstreamKey = 'upstream-key-0123456789abcdef'

/** US dollars per million tokens that the gate is told to bill. */
export const usdPerMillionTokens = { input: '2.50', output: '10.00' } as const

const usage = {
  prompt_tokens: 61,
  completion_tokens: 174,
  total_tokens: 235,
  prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
}

/** Whole nano-USD that one answer costs at {@link usdPerMillionTokens}. */
export const costNanoUsdPerAnswer = usage.prompt_tokens * 2_500 + usage.completion_tokens * 10_000

const question = {
  model: modelName,
  messages: [
    { role: 'system', content: 'You answer briefly, and you say so when you do not know.' },
    { role: 'user', content: 'Which of the two ferries to the island takes bicycles, and what does it cost?' },
  ],
  temperature: 0.2,
  max_tokens: 256,
}

/** The bytes that callers send. */
export const requestBody: Readonly<Record<Scenario, string>> = {
  json: JSON.stringify(question),
  stream: JSON.stringify({ ...question, stream: true, stream_options: { include_usage: true } }),
}

const common = { id: 'chatcmpl-bench0123456789', created: 1_764_000_000, model: modelName }

/** 1.05 KB of chat completion. */
export const jsonAnswer = JSON.stringify({
  id: common.id,
  object: 'chat.completion',
  created: common.created,
  model: common.model,
  choices: [
    {
      index: 0,
      message: {
        role: 'assistant',
        content: 'The morning ferry takes bicycles at no charge; the evening one does not take them at all. '.repeat(7),
        refusal: null,
      },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage,
})

/** 50 events, the last with the usage, as OpenAI sends them under `include_usage`. */
export const streamEvents: readonly string[] = Array.from({ length: 50 }, (_, index) => {
  const delta = index === 0 ? { role: 'assistant', content: '' } : index === 48 ? {} : { content: ` word${index}` }
  const choices = index === 49 ? [] : [{ index: 0, delta, logprobs: null, finish_reason: index === 48 ? 'stop' : null }]
  const event = { ...common, object: 'chat.completion.chunk', choices, usage: index === 49 ? usage : null }
  return `data: ${JSON.stringify(event)}\n\n`
})

export const streamEnd = 'data: [DONE]\n\n'

/** What every subject has to answer, byte for byte. */
export const expectedAnswer: Readonly<Record<Scenario, string>> = {
  json: jsonAnswer,
  stream: streamEvents.join('') + streamEnd,
}

/** API keys of the callers, in clear. */
export const apiKeys: readonly string[] = Array.from(
  { length: callerCount },
  (_, caller) => `bench_key_${String(caller).padStart(2, '0')}_0123456789abcdef0123456789abcdef`,
)

/** The `Authorization` headers of the callers, or none. */
export function authorizations(credentials: Credentials): readonly string[] {
  if (credentials === 'none') return []
  const secrets = credentials === 'api-key' ? apiKeys : apiKeys.map((_, caller) => jwt(`caller-${caller}`))
  return secrets.map((secret) => `Bearer ${secret}`)
}

/** An HS256 token (RFC 7515) that ends in a day. */
export function jwt(subject: string): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: jwtIssuer,
    aud: jwtAudience,
    sub: subject,
    tenant: 'bench',
    tier: 'enterprise',
    scope: 'inference',
    iat: now,
    exp: now + 86_400,
  }
  const signed = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(claims)}`
  return `${signed}.${createHmac('sha256', jwtSecret).update(signed).digest('base64url')}`
}

function base64url(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
