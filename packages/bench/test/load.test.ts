import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Rig, startRig } from '../src/measure.ts'
import { upstreamKey } from '../src/traffic.ts'

// The upstream itself takes the subject's place: it answers 400 to whoever lacks its key.
describe('the load generator', () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await startRig()
  })
  afterAll(() => rig.stop())

  const target = (authorization: string) => ({
    origin: rig.upstreamOrigin,
    credentials: 'none' as const,
    headers: { authorization },
  })
  const right = `Bearer ${upstreamKey}`

  it.each(['json', 'stream'] as const)('tells how long each request waited, at a fixed rate: %s', async (scenario) => {
    const before = await rig.upstream.ask('answered', undefined)
    const waits = await rig.paceUpstream(scenario, { requests: 20, requestsPerSecond: 1_000 })
    expect(waits).toHaveLength(20)
    expect(waits.every((waited) => waited > 0)).toBe(true)
    expect((await rig.upstream.ask('answered', undefined)) - before).toBe(20)
  })

  it('takes no wrong answer for one', async () => {
    const order = { scenario: 'json', requests: 5 } as const
    await expect(rig.load.ask('run', { ...order, target: target(right) })).resolves.toBeDefined()
    await expect(rig.load.ask('run', { ...order, target: target('Bearer x') })).rejects.toThrow('a wrong answer: 400')
    const paced = { ...order, requestsPerSecond: 1_000 }
    await expect(rig.load.ask('pace', { ...paced, target: target('Bearer x') })).rejects.toThrow('a wrong answer: 400')
  })
})
