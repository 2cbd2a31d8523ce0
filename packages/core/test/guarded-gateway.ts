import { expect } from 'vitest'
import { redactPii } from '../src/wrappers/redact-pii.js'
import type { UpstreamCall, UpstreamScript } from './fixture-upstream.js'
import type { llmGateway } from './llm-gateway.js'

export const email = 'alice@example.com'
export const card = '4111 1111 1111 1111'
export const key = `sk-${'aB3'.repeat(16)}`
export const secrets = [email, card, key]
export const written = 'Mailed [EMAIL_1] about [CREDIT_CARD_1], with [SECRET_1]; [EMAIL_7] is nobody.'
export const prompt = `Mail ${email} about ${card}, with ${key}.`

/** What an upstream was sent: none of it may hold what is to be kept from it. */
export function sent(
  calls: readonly UpstreamCall[],
  leaks: readonly string[] = secrets,
): Array<Record<string, unknown>> {
  expect(calls.length).toBeGreaterThan(0)
  for (const { body } of calls) for (const leak of leaks) expect(JSON.stringify(body)).not.toContain(leak)
  return calls.map(({ body }) => body)
}

export const guards = [redactPii({ restore: true })]
export const models = ['gpt-test', 'native-test', 'claude-test', 'gemini-test', 'eu.anthropic.claude-test'] as const
export const scripts = (script: UpstreamScript) => Object.fromEntries(models.map((model) => [model, script]))
/** The upstream of a model. */
export const upstreamOf = (gateway: Awaited<ReturnType<typeof llmGateway>>, model: string) =>
  model.startsWith('eu.')
    ? gateway.bedrock
    : model.startsWith('claude')
      ? gateway.anthropic
      : model.startsWith('gemini')
        ? gateway.gemini
        : gateway.openAi
