import Anthropic from '@anthropic-ai/sdk'
import { describe, expect, it } from 'vitest'
import { wordsOf } from '../../../packages/core/test/fixture-upstream.js'
import { apiKey, startGate, startGateway } from './running-gate.js'

const sdk = (url: string, key: string = apiKey) => new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 })
const ask = (model: string) => ({
  model,
  max_tokens: 100,
  messages: [{ role: 'user' as const, content: 'What is the time?' }],
})
const text = wordsOf().join('')

describe("Anthropic's own SDK, through the gate", () => {
  it.each([
    ['claude-test', 'anthropic', 3_000, 15_000],
    ['gpt-4o-mini', 'upstream', 150, 600],
  ])('talks to %s, and the call is priced and logged', async (model, provider, input, output) => {
    const { url, line } = await startGateway()
    const { data, response } = await sdk(url).messages.create(ask(model)).withResponse()
    expect(data.content).toMatchObject([{ type: 'text', text }])
    expect(response.headers.get('request-id')).toBe(response.headers.get('x-request-id'))
    const cost = data.usage.input_tokens * input + data.usage.output_tokens * output
    expect(await line(response.headers.get('x-request-id') ?? '')).toMatchObject({
      provider,
      model,
      status: 200,
      route: '/v1/messages',
      cost_usd: cost / 1e9,
    })
  })

  it('counts, without a price', async () => {
    const { url, lines } = await startGateway()
    const { max_tokens: _, ...counted } = ask('claude-test')
    expect((await sdk(url).messages.countTokens(counted)).input_tokens).toBeGreaterThan(1)
    await expect.poll(() => lines.filter(({ msg }) => msg === 'request')).toMatchObject([{ status: 200 }])
    expect(lines.find(({ msg }) => msg === 'request')).not.toHaveProperty('cost_usd')
  })

  it("is told refusals in Anthropic's words, as errors of their own classes", async () => {
    const { url } = await startGate({ API_KEY_TIER: 'free', RATE_LIMIT_FREE: '1' })
    await expect(sdk(url, 'wrong').messages.create(ask('echo'))).rejects.toBeInstanceOf(Anthropic.AuthenticationError)
    await expect(sdk(url).messages.create(ask('nope'))).rejects.toMatchObject({
      status: 404,
      type: 'not_found_error',
      message: expect.stringContaining('echo'),
    })
    const limited = await sdk(url)
      .messages.create(ask('echo'))
      .catch((error: unknown) => error)
    expect(limited).toBeInstanceOf(Anthropic.RateLimitError)
    expect(limited).toMatchObject({ type: 'rate_limit_error', headers: expect.any(Headers) })
    expect((limited as InstanceType<typeof Anthropic.APIError>).headers?.get('retry-after')).toMatch(/^\d+$/)
  })

  it('does not answer from the cache what was asked for by another beta', async () => {
    const { url, anthropic } = await startGateway()
    const greedy = { ...ask('claude-test'), temperature: 0 }
    for (const beta of ['a', 'a', 'b']) await sdk(url).messages.create(greedy, { headers: { 'anthropic-beta': beta } })
    expect(anthropic.calls.map(({ headers }) => headers['anthropic-beta'])).toEqual(['a', 'b'])
  })
})
