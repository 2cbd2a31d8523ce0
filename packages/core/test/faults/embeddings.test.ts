import { describe, expect, it } from 'vitest'
import { embeddingOf } from '../openai-upstream.js'
import { bodyFaults } from './body-faults.js'
import type { Fault, Lane } from './expected.js'
import { faultGate, limits, type WireName } from './fault-gate.js'
import { headFaults } from './head-faults.js'

/** What the fixtures of the two wires make of the input. */
const vectors: Partial<Record<WireName, readonly number[]>> = {
  openai: [...embeddingOf('Hello', 4)],
  gemini: Array.from({ length: 4 }, (_, index) => Math.fround(Math.sin('Hello'.length + index))),
}

const faults = [...headFaults, ...bodyFaults].filter(({ of = 'json' }) => of === 'json')

async function once(wire: WireName, { play, expected, isSlow }: Fault) {
  const { url, upstream, rows } = await faultGate(wire, isSlow === true ? limits.short : {})
  upstream.play('model', play)
  const response = await fetch(`${url}/v1/embeddings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'model', input: 'Hello' }),
  })
  const { data, error } = (await response.json()) as { data?: Array<{ embedding: number[] }>; error?: object }
  const [row] = await rows(1)
  const lane: Lane = { wire, surface: 'chat' }
  const wanted = typeof expected === 'function' ? expected(lane, false) : expected
  expect(upstream.requests).toHaveLength(1)
  if (wanted === 'whole') {
    expect([response.status, data?.map(({ embedding }) => embedding)]).toEqual([200, [vectors[wire]]])
    expect(row).toMatchObject({ outcome: 'ok', usage: { inputTokens: expect.any(Number), outputTokens: 0 } })
    return
  }
  if (typeof wanted === 'string' || !('refused' in wanted)) throw new Error(`nothing is said of ${wire}`)
  expect([response.status, error]).toEqual([wanted.status, expect.any(Object)])
  expect(row).toMatchObject({ outcome: 'error', error: wanted.refused, status: wanted.status })
}

describe.each(['openai', 'gemini'] as const)('embeddings of %s', (wire) => {
  it.each(faults)('$name', (fault) => once(wire, fault))
})
