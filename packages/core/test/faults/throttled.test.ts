import { describe, expect, it } from 'vitest'
import type { Model } from '../../src/inference/model.js'
import type { Provider } from '../../src/inference/provider.js'
import { withRetry } from '../../src/wrappers/retry.js'
import { check, lanes } from './expected.js'
import { faultGate, type WireName } from './fault-gate.js'
import type { Play } from './faulty-upstream.js'
import { ask } from './surfaces.js'

const inAWeek = () => new Date(Date.now() + 604_800_000).toUTCString()

/** Every form in which the vendors say when to come again, and what of it the caller is told, in seconds. */
const hints: ReadonlyArray<{
  readonly name: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly only?: WireName
  readonly seconds: string | null
}> = [
  { name: 'nothing', seconds: null },
  { name: 'seconds', headers: { 'retry-after': '17' }, seconds: '17' },
  { name: 'milliseconds', headers: { 'retry-after': '99', 'retry-after-ms': '16500.5' }, seconds: '17' },
  { name: 'a date', headers: { 'retry-after': inAWeek() }, seconds: '86400' },
  { name: 'a past date', headers: { 'retry-after': 'Sun Nov  6 08:49:37 1994' }, seconds: null },
  { name: 'junk', headers: { 'retry-after': 'later, 2099' }, seconds: null },
  { name: 'a negative number', headers: { 'retry-after': '-17' }, seconds: null },
  { name: 'a number beyond all', headers: { 'retry-after': '9'.repeat(30) }, seconds: '86400' },
  {
    name: 'a window that is used up',
    headers: { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '17s' },
    seconds: '17',
  },
  {
    name: 'a window of its own that is used up',
    only: 'anthropic',
    headers: {
      'anthropic-ratelimit-requests-remaining': '0',
      'anthropic-ratelimit-requests-reset': '2999-01-01T00:00:00Z',
    },
    seconds: '86400',
  },
  {
    name: "Google's words",
    only: 'gemini',
    body: {
      error: {
        code: 429,
        status: 'RESOURCE_EXHAUSTED',
        message: 'quota',
        details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '16.2s' }],
      },
    },
    seconds: '17',
  },
  { name: "Amazon's word", only: 'bedrock', headers: { 'x-amzn-errortype': 'ThrottlingException' }, seconds: null },
]

const throttled =
  (headers: Readonly<Record<string, string>> = {}, body: unknown = { error: { message: 'slower' } }): Play =>
  async (line) => {
    const text = JSON.stringify(body)
    await line.head({ 'content-type': 'application/json', 'content-length': text.length, ...headers }, '429 Slow')
    await line.send(text)
  }

const retrying = (provider: Provider): Provider => ({
  ...provider,
  model: (task, id, version) => {
    const model = provider.model(task, id, version)
    if (model === undefined) return undefined
    return withRetry(model as Model, { baseMs: 0, maxRetryAfterMs: 100 }) as typeof model
  },
})

describe.each(lanes)('$wire behind $surface', ({ wire, surface }) => {
  it.each(hints.filter(({ only = wire }) => only === wire))(
    '$name is passed on to the caller, and not waited for where it is too long',
    async ({ headers, body, seconds }) => {
      for (const isStream of [false, true]) {
        const { url, upstream, rows } = await faultGate(wire, {}, retrying)
        upstream.play('model', throttled(headers, body))
        const heard = await ask(url, surface, 'model', isStream)
        check(heard, (await rows(1))[0], { refused: 'rate_limited', status: 429 })
        expect(heard.headers.get('retry-after')).toBe(seconds)
        // Without a hint it is tried again at once.
        expect(upstream.requests).toHaveLength(seconds === null ? 3 : 1)
      }
    },
  )

  it('what is short is waited for, and tried again', async () => {
    for (const headers of [{ 'retry-after': '0' }, { 'retry-after': '0.02' }, { 'retry-after-ms': '20' }, {}]) {
      for (const isStream of [false, true]) {
        const { url, upstream, rows } = await faultGate(wire, {}, retrying)
        upstream.play('model', async (line, healthy) => {
          upstream.play('model', undefined)
          await throttled(headers)(line, healthy)
        })
        check(await ask(url, surface, 'model', isStream), (await rows(1))[0], 'whole')
        expect(upstream.requests).toHaveLength(2)
      }
    }
  })
})
