import { describe, expect, it } from 'vitest'
import { bodyFaults } from './body-faults.js'
import { check, type Fault, type Lane, lanes } from './expected.js'
import { faultGate, limits } from './fault-gate.js'
import { headFaults } from './head-faults.js'
import { ask } from './surfaces.js'

const secrets = /secret|AKIA|127\.0\.0\.1/
/** What an upstream says that is no answer of a model. */
const itsOwn = /login|nonsense|<html>/

async function once({ play, expected, isSlow }: Fault, lane: Lane, isStream: boolean): Promise<void> {
  const { url, upstream, rows, logged } = await faultGate(lane.wire, isSlow === true ? limits.short : {})
  upstream.play('model-1', play)
  const heard = await ask(url, lane.surface, 'model-1', isStream)
  const [row] = await rows(1)
  check(heard, row, typeof expected === 'function' ? expected(lane, isStream) : expected)
  const told = `${heard.raw}${JSON.stringify([...heard.headers])}`
  expect(told).not.toMatch(itsOwn)
  expect(`${told}${JSON.stringify(logged)}`).not.toMatch(secrets)
  // A redirect is not followed, and nothing is tried again unasked.
  expect(upstream.requests).toHaveLength(1)
  // What went wrong stays with its request.
  check(await ask(url, lane.surface, 'model-2', isStream), (await rows(2))[1], 'whole')
}

const modesOf = { json: [false], stream: [true], sse: [true], all: [false, true] }

describe('a fault of the upstream, on every wire and surface, whole and streamed', () => {
  it.each([...headFaults, ...bodyFaults])('$name', async (fault) => {
    const { of = 'all', except } = fault
    const all = lanes
      .filter(({ wire }) => wire !== except?.wire && (of !== 'sse' || wire !== 'bedrock'))
      .flatMap((lane) => modesOf[of].map((isStream) => ({ lane, isStream })))
    const results = await Promise.allSettled(all.map(({ lane, isStream }) => once(fault, lane, isStream)))
    const failed = results.flatMap((result, index) => {
      const { lane, isStream } = all[index] as (typeof all)[number]
      const where = `${lane.wire} behind ${lane.surface}, ${isStream ? 'streamed' : 'whole'}`
      return result.status === 'rejected' ? [`${where}: ${result.reason}`] : []
    })
    expect(failed).toEqual([])
  })
})
