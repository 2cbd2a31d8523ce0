import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { memoryIdentityStore } from '@tollgate/core/stores/memory-identity-store'
import { memoryLedger } from '@tollgate/core/stores/memory-ledger'
import { onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../../packages/core/test/anthropic-upstream.js'
import type { FixtureUpstream } from '../../../packages/core/test/fixture-upstream.js'
import { type OpenAiUpstream, openAiUpstream, upstreamKey } from '../../../packages/core/test/openai-upstream.js'
import { type Gate, makeGate } from '../src/app.js'
import { embeddedNames } from '../src/models.js'
import { readSettings } from '../src/settings.js'

export const apiKey = 'a-key-for-the-tests-0123456789'
export const jwtSecret = 'a-secret-for-the-tests-of-the-gate-0123456789'

export interface RunningGate {
  readonly url: string
  readonly gate: Gate
  /** Parsed log lines so far. */
  readonly lines: ReadonlyArray<Record<string, unknown>>
  /** The log line of a request, as soon as it is written. */
  line(requestId: string): Promise<Record<string, unknown>>
}

/** The whole server in this process, until the test is over; `variables` as in its environment. */
export async function startGate(variables: Readonly<Record<string, string>> = {}): Promise<RunningGate> {
  const lines: Record<string, unknown>[] = []
  const waiting = new Set<() => void>()
  const destination = {
    write(text: string) {
      for (const line of text.split('\n')) if (line !== '') lines.push(JSON.parse(line) as Record<string, unknown>)
      for (const look of waiting) look()
    },
  }
  const settings = readSettings({ API_KEY: apiKey, JWT_SECRET: jwtSecret, ...variables }, embeddedNames)
  const [identities, ledger] = [memoryIdentityStore(), memoryLedger()]
  const publicUrl = 'http://localhost:8000'
  const gate = makeGate({
    settings,
    version: '1.2.3',
    publicUrl,
    apiKey: settings.API_KEY,
    identities,
    ledger,
    destination,
  })
  const server = createServer(gate.listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await gate.service.ready()
    await gate.service.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    gate,
    lines,
    line: (requestId) =>
      new Promise((resolve) => {
        const look = () => {
          const found = lines.find((line) => line['request_id'] === requestId && line['msg'] === 'request')
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      }),
  }
}

/** Upstreams that misbehave on demand, OpenAI's and Anthropic's, and the gate in front of them. */
export async function startGateway(
  variables: Readonly<Record<string, string>> = {},
): Promise<RunningGate & { readonly upstream: OpenAiUpstream; readonly anthropic: FixtureUpstream }> {
  const [upstream, anthropic] = [await openAiUpstream(), await anthropicUpstream()]
  onTestFinished(async () => {
    await Promise.all([upstream.close(), anthropic.close()])
  })
  const running = await startGate({
    OPENAI_API_KEY: upstreamKey,
    OPENAI_BASE_URL: upstream.baseUrl,
    ANTHROPIC_API_KEY: anthropicKey,
    ANTHROPIC_BASE_URL: anthropic.baseUrl,
    MODEL_NAME: 'gpt-4o-mini',
    EMBEDDING_MODEL_NAME: 'text-embedding-3-small',
    PRICES: JSON.stringify({
      'gpt-4o-mini': { usdPerMillionTokens: { input: '0.15', output: '0.60' } },
      'claude-test': { usdPerMillionTokens: { input: '3', output: '15' } },
      'text-embedding-3-small': { usdPerMillionTokens: { input: '0.02' } },
    }),
    ...variables,
  })
  return { ...running, upstream, anthropic }
}

/** Posts JSON with the key of the tests. */
export function post(url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}
