import { describe, expect, it } from 'vitest'
import { prompt, start } from '../../test/limited-model.js'
import type { LimitRule } from './limits.js'

describe('tokens', () => {
  const tpm: LimitRule = { name: 'tpm', measure: 'tokens', limit: 1000, windowMs: 3_600_000_000 }

  it('are reserved as prompt and bounded output, and settled by what was used', async () => {
    const { ask, soon, used } = await start([tpm])
    const slow = ask({ model: 'small', usage: '40/10', wait: 100, body: prompt('x'.repeat(300), { max_tokens: 200 }) })
    await soon('tpm', [302, 0])
    expect((await slow).status).toBe(200)
    await soon('tpm', [50, 0])
    const refused = await ask({ model: 'small', usage: '1/1', body: prompt('x', { max_tokens: 960 }) })
    expect(refused).toMatchObject({ status: 429, body: { 'violated-policies': ['tpm'] } })
    expect(refused.headers.get('x-ratelimit-limit-tokens')).toBe('1000')
    expect(await used('tpm')).toEqual([50, 0])
  })

  it('beyond what was reserved are a debt, and of a call that failed nothing', async () => {
    const { ask, soon } = await start([tpm])
    await ask({ model: 'small', usage: '900/300', body: prompt('x', { max_tokens: 10 }) })
    await soon('tpm', [1200, 0])
    expect((await ask({ model: 'small', body: prompt('x', { max_tokens: 1 }) })).status).toBe(429)
    const other = await start([tpm])
    expect((await other.ask({ model: 'small', status: 502, body: prompt('x', { max_tokens: 10 }) })).status).toBe(502)
    await other.soon('tpm', [0, 0])
  })

  it('of a successful call that nobody tells are those that were reserved', async () => {
    const { ask, soon } = await start([tpm])
    await ask({ model: 'small', body: prompt('abc', { max_tokens: 9 }) })
    await soon('tpm', [12, 0])
  })

  it('of output without a bound are learned, and never asked for', async () => {
    const { ask, used, soon } = await start([tpm], { defaultOutputTokens: 600 })
    const running = ask({ model: 'small', usage: '1/20', wait: 100, body: prompt('abc') })
    await soon('tpm', [603, 0])
    await running
    for (let count = 0; count < 40; count += 1) await ask({ model: 'small', usage: '0/20', body: prompt('') })
    const before = (await used('tpm'))?.[0] ?? 0
    const later = ask({ model: 'small', usage: '0/20', wait: 100, body: prompt('') })
    await expect.poll(async () => ((await used('tpm'))?.[0] ?? 0) - before).toBeGreaterThan(19)
    expect(((await used('tpm'))?.[0] ?? 0) - before).toBeLessThan(60)
    await later
  })

  it('of several answers without a bound are as many times what one has had', async () => {
    const { ask, soon, used } = await start([tpm], { defaultOutputTokens: 100 })
    const running = ask({ model: 'small', usage: '0/400', wait: 100, body: prompt('', { n: 4 }) })
    await soon('tpm', [402, 0])
    await running
    await soon('tpm', [400, 0])
    const next = ask({ model: 'small', usage: '0/0', wait: 100, body: prompt('') })
    // One has had 100: three deviations of a third above it.
    await expect.poll(async () => ((await used('tpm'))?.[0] ?? 0) - 400).toBeGreaterThan(190)
    expect(((await used('tpm'))?.[0] ?? 0) - 400).toBeLessThan(210)
    await next
  })

  it('are counted by input and by output alone, by a function of yours, and more than the burst passes when there is all', async () => {
    const { ask, soon } = await start(
      [
        { name: 'in', measure: 'inputTokens', limit: 100, windowMs: 3_600_000_000 },
        { name: 'out', measure: 'outputTokens', limit: 100, windowMs: 3_600_000_000 },
      ],
      { countTokens: (text) => text.length },
    )
    const running = ask({
      model: 'small',
      usage: '7/9',
      wait: 100,
      body: prompt('x'.repeat(10), { max_tokens: 5_000 }),
    })
    // `user` is text too.
    await soon('in', [14, 0])
    await soon('out', [100, 0])
    expect((await running).status).toBe(200)
    await soon('in', [7, 0])
    await soon('out', [9, 0])
  })
})
