import { describe, expect, it } from 'vitest'
import { latencies, type Reading } from './round.ts'
import { directLine, latencyRows, rows } from './rows.ts'
import { base, portkey, type Subject, tollgate } from './subjects.ts'

function reading(subject: Subject, perCore: number, addedP50Ms: number): Reading {
  return {
    subject,
    measurement: { cpuMicros: 100 / perCore, rssBytes: 2 ** 27, busy: 1, elapsedMs: 1, p50Ms: 1, p99Ms: 2 },
    perCore,
    direct: { p50Ms: 1, p99Ms: 3 },
    added: { p50Ms: addedP50Ms, p99Ms: 2 * addedP50Ms },
  }
}

/** The second on a machine of half the pace. */
const rounds = [
  [reading(base, 1, 1), reading(tollgate, 0.8, 1.5), reading(portkey, 0.2, 3)],
  [reading(base, 1, 2), reading(tollgate, 0.6, 2.5), reading(portkey, 0.1, 10)],
]

describe('rows', () => {
  it('compares subjects with peers of the same round only', () => {
    const [, own, other] = rows(rounds, [tollgate, portkey])
    expect(own?.timesPortkey).toEqual({ median: 5, least: 0.8 / 0.2, most: 0.6 / 0.1 })
    expect(other?.timesPortkey).toEqual({ median: 1, least: 1, most: 1 })
  })

  it('has no multiple of a peer that was not measured', () => {
    const [, own] = rows(rounds, [tollgate])
    expect(own?.timesAssembled).toBeUndefined()
  })
})

describe('latencyRows', () => {
  it('tells what each adds, as a multiple of what Portkey adds in the same round and over what the base does', () => {
    const [first, own] = latencyRows(rounds, [tollgate, portkey])
    expect(own?.addedP50Ms).toEqual({ median: 2, least: 1.5, most: 2.5 })
    expect(own?.timesPortkey).toEqual({ median: 0.375, least: 0.25, most: 0.5 })
    expect(own?.overBaseP50Ms).toEqual({ median: 0.5, least: 0.5, most: 0.5 })
    expect(own?.overBaseP99Ms).toEqual({ median: 1, least: 1, most: 1 })
    expect(first?.overBaseP50Ms.median).toBe(0)
  })

  it('says what it is added to', () => {
    expect(directLine(rounds)).toBe('of the upstream itself p50 1.0 ms, p99 3.0 ms')
  })
})

describe('latencies', () => {
  it('takes what callers of the upstream waited from what those of the subject did, in the middle and at the end', () => {
    const direct = Array.from({ length: 200 }, (_, index) => 1 + index / 100)
    const own = direct.map((waited, index) => waited + (index < 150 ? 0.5 : 4))
    const { added } = latencies(direct, own)
    expect(added.p50Ms).toBeCloseTo(0.5)
    expect(added.p99Ms).toBeCloseTo(4)
  })
})
