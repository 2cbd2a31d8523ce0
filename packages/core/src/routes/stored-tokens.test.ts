import { describe, expect, it } from 'vitest'
import { prices, storedGate } from '../../test/stored-gate.js'
import { costNanoUsd } from '../money.js'

const ask = (model: string, previous?: string) => ({
  model,
  input: 'Go on.',
  max_output_tokens: 10,
  ...(previous === undefined ? {} : { previous_response_id: previous }),
})
const long = { ...ask('sure'), input: 'word '.repeat(5_000) }
const tokens = (limit: number) =>
  ({ name: 'tokens', measure: 'tokens', per: 'tenant', calendar: 'month', limit }) as const
const money = (limit: string) => ({ name: 'money', measure: 'money', per: 'tenant', calendar: 'month', limit }) as const
const principal = { tenant: 'a', subject: 'ann', method: 'api-key', scopes: ['*'] } as const

async function gateOf(options: Parameters<typeof storedGate>[0]) {
  const gate = await storedGate(options)
  const standing = async (name: string) => {
    const all = await gate.limiter.standing({ headers: {}, socket: {} } as never, { principal } as never)
    return all.find(({ rule }) => rule === name)
  }
  return { ...gate, standing }
}

describe('what a stored conversation holds', () => {
  it('is reserved: follow-ups side by side pass no limit of tokens and no budget', async () => {
    const { ann, calls, standing } = await gateOf({ rules: [tokens(50_000), money('0.04')], pauseMs: 5 })
    const { id } = await ann.responses.create(long)
    await expect.poll(async () => (await standing('tokens'))?.held).toBe(0)
    const before = (await standing('tokens'))?.used ?? 0
    expect(before).toBeGreaterThan(5_000)
    const follow = () => ann.responses.create({ ...ask('sure', id), stream: true })
    const begun = (await Promise.allSettled(Array.from({ length: 20 }, follow))).filter(
      (each) => each.status === 'fulfilled',
    )
    for (const { value } of begun) for await (const _ of value);
    await expect.poll(async () => (await standing('money'))?.held).toBe(0)
    expect(begun.length).toBeGreaterThan(2)
    expect(calls()).toHaveLength(1 + begun.length)
    expect((await standing('tokens'))?.used).toBeLessThanOrEqual(50_000)
    expect((await standing('money'))?.used).toBeLessThanOrEqual(40_000_000)
  })

  it.each(['a stream', 'a whole answer'])('is reserved for what goes on after %s', async (kind) => {
    const { ann, standing } = await gateOf({ rules: [tokens(1_000_000)], pauseMs: 20 })
    let previous: string | undefined
    const created = await ann.responses.create({ ...long, stream: kind === 'a stream' })
    if ('id' in created) previous = created.id
    else for await (const event of created) if (event.type === 'response.completed') previous = event.response.id
    for (let turn = 0; turn < 3; turn += 1) {
      const held: number[] = []
      for await (const event of await ann.responses.create({ ...ask('sure', previous), stream: true })) {
        if (event.type === 'response.created') held.push((await standing('tokens'))?.held ?? 0)
        if (event.type === 'response.completed') previous = event.response.id
      }
      expect(held[0]).toBeGreaterThan(5_000)
      expect(held[0]).toBeLessThan(8_000)
    }
  })

  it('that this server knows nothing of is taken for 8,192 tokens, and later for what such requests have read', async () => {
    const before = await storedGate({ pauseMs: 5 })
    const { id } = await before.ann.responses.create(long)
    const { ann, standing } = await gateOf({ upstreams: before.upstreams, rules: [tokens(1_000_000)] })
    const heldBy = async () => {
      let held = 0
      for await (const event of await ann.responses.create({ ...ask('sure', id), stream: true })) {
        if (event.type === 'response.created') held = (await standing('tokens'))?.held ?? 0
      }
      return held
    }
    expect(await heldBy()).toBeGreaterThan(8_192)
    for (let turn = 0; turn < 40; turn += 1) await ann.responses.create(ask('sure', id))
    const held = await heldBy()
    expect(held).toBeGreaterThan(5_000)
    expect(held).toBeLessThan(8_000)
  })

  it('is billed where an answer is cut and nobody tells what it used', async () => {
    const { ann, rows, east } = await gateOf({ rules: [tokens(1_000_000)], pauseMs: 20 })
    const { id, usage } = await ann.responses.create(long)
    east.broken.after = 6
    const stream = await ann.responses.create({ ...ask('sure', id), stream: true })
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow()
    await expect.poll(() => rows).toHaveLength(2)
    const cut = rows[1]
    expect(cut?.usage).toMatchObject({ estimated: true })
    expect(cut?.usage?.inputTokens).toBeGreaterThanOrEqual(usage?.total_tokens ?? Number.POSITIVE_INFINITY)
    const price = prices.price({ provider: 'east', model: 'gpt-4o' })
    expect(cut?.costNanoUsd).toBe(cut?.usage && price && costNanoUsd(cut.usage, price))
  })
})
