import { expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { listener, middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { inferenceService } from '../inference/service.js'
import { cache } from '../middleware/cache.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { echoProvider } from '../providers/echo.js'
import type { Usage } from '../usage.js'
import { cachedInference, inference } from './inference.js'

/** Counts a token a word. */
const tokenizer = { name: 'words', count: (text: string) => text.split(/\s+/).filter(Boolean).length }
const service = inferenceService({ providers: [echoProvider({ tokenizer })], defaultModels: { generate: 'echo' } })
// A dollar and two dollars per million tokens: 1,000 and 2,000 nano-USD each.
const overrides = { echo: { usdPerMillionTokens: { input: 1, output: 2 } } }

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

eachHost((host) => {
  it('answers with the text, the tokens and the cost', async () => {
    const { url } = await host.start(cost({ overrides }), inference({ service }), errorHandler())
    const answer = await post(url, { prompt: 'one two three', max_tokens: 100, temperature: 0.5, user_id: 'u' })
    expect(await answer.json()).toEqual({
      response: 'one two three',
      model: 'echo',
      prompt_tokens: 3,
      completion_tokens: 3,
      estimated_cost_usd: 0.000009,
      duration_ms: expect.any(Number),
      request_id: answer.headers.get('x-request-id'),
      cached: false,
    })
  })

  it('names every wrong field', async () => {
    const { url } = await host.start(inference({ service }), errorHandler())
    const refused = await post(url, { max_tokens: 0, temperature: 'hot', more: 1 })
    expect(refused.status).toBe(400)
    const { errors } = (await refused.json()) as { errors: Array<{ path: string }> }
    expect(errors.map(({ path }) => path).sort()).toEqual(['max_tokens', 'more', 'prompt', 'temperature'])
  })
})

it('says null for a cost that nobody computes', async () => {
  const { url } = await listen(listener(inference({ service }), errorHandler()))
  expect(await (await post(url, { prompt: 'one' })).json()).toMatchObject({ estimated_cost_usd: null })
})

it('is answered from the cache as its own request, at no cost and with nothing used', async () => {
  const used: Array<Usage | undefined> = []
  const { url } = await listen(
    listener(
      middleware('watch', (context, req, res) => onEnd(req, res, () => used.push(context.usage))),
      cost({ overrides }),
      cache({ anonymous: 'share', onHit: cachedInference }),
      inference({ service }),
      errorHandler(),
    ),
  )
  const first = (await (await post(url, { prompt: 'one two' })).json()) as Record<string, unknown>
  const hit = await post(url, { prompt: 'one two' })
  const second = (await hit.json()) as Record<string, unknown>
  expect(second).toEqual({
    ...first,
    cached: true,
    estimated_cost_usd: 0,
    request_id: hit.headers.get('x-request-id'),
    duration_ms: expect.any(Number),
  })
  expect(second['request_id']).not.toBe(first['request_id'])
  await expect.poll(() => used).toHaveLength(2)
  expect(used[0]).toMatchObject({ inputTokens: 2, outputTokens: 2 })
  expect(used[1]?.outputTokens ?? 0).toBe(0)
})
