import { expect } from 'vitest'
import type { ErrorCode } from '../../src/errors.js'
import type { LedgerRow } from '../../src/stores/ledger.js'
import { defaultText, type UpstreamScript } from '../fixture-upstream.js'
import type { WireName } from './fault-gate.js'
import type { Play } from './faulty-upstream.js'
import type { Heard, SurfaceName } from './surfaces.js'

/**
 * What a caller may get.
 *
 * - `whole`: all that the upstream said, and its own count is billed; `counted`: the same, billed by our count where the upstream's is lost
 * - `refused`: an error by its status, and nothing else
 * - `broken`: the beginning, then an error in the caller's dialect, never a clean end
 * - `cut`: `refused` or `broken`
 */
export type Expected =
  | 'whole'
  | 'counted'
  | { readonly refused: ErrorCode; readonly status: number }
  | { readonly broken: ErrorCode }
  | { readonly cut: ErrorCode }

/** A wire of an upstream, behind a surface of the gate. */
export interface Lane {
  readonly wire: WireName
  readonly surface: SurfaceName
}

/** Relayed, and put into other words, of each wire. */
export const lanes: readonly Lane[] = [
  { wire: 'openai', surface: 'chat' },
  { wire: 'openai', surface: 'completions' },
  { wire: 'openai', surface: 'responses' },
  { wire: 'openai', surface: 'messages' },
  { wire: 'anthropic', surface: 'messages' },
  { wire: 'anthropic', surface: 'chat' },
  { wire: 'gemini', surface: 'chat' },
  { wire: 'gemini', surface: 'responses' },
  { wire: 'bedrock', surface: 'chat' },
  { wire: 'bedrock', surface: 'messages' },
]

/** A way in which an upstream goes wrong. */
export interface Fault {
  readonly name: string
  /** `sse`: streams of Server-Sent Events. Default: all. */
  readonly of?: 'json' | 'stream' | 'sse'
  /** Wires that this says nothing of, and why. */
  readonly except?: { readonly wire: WireName; readonly why: string }
  /** It is time that ends it: the limits of the gate are short. */
  readonly isSlow?: boolean
  readonly play: Play
  readonly expected: Expected | ((lane: Lane, isStream: boolean) => Expected)
}

/** What the fixtures of these APIs can say. */
export function scriptsFor({ wire, surface }: Lane): readonly UpstreamScript[] {
  const calls = [
    { id: 'call_1', name: 'weather', arguments: '{"city":"Köln \\"am\\" Rhein 🙂"}' },
    { id: 'call_2', name: 'time', arguments: '{"zone":"Europe/Berlin"}' },
  ]
  const isPlain = surface === 'completions' || (wire === 'openai' && surface === 'responses')
  return isPlain ? [{}] : [{}, { toolCalls: calls }]
}

/** Holds an answer, and its row, against what was expected. */
export function check(heard: Heard, row: LedgerRow | undefined, expected: Expected, script: UpstreamScript = {}): void {
  const { text: sent = script.toolCalls === undefined ? defaultText : '', toolCalls = [] } = script
  const { status, text, calls, isWhole, error } = heard
  if (row === undefined) throw new Error('no row')
  if (expected === 'whole' || expected === 'counted') {
    expect({ status, text, calls, isWhole, error }).toEqual({
      status: 200,
      text: sent,
      calls: toolCalls.map(({ name, arguments: json }) => ({ name, arguments: json })),
      isWhole: true,
      error: undefined,
    })
    expect(row).toMatchObject({ outcome: 'ok', status: 200, usage: { estimated: expected === 'counted' } })
    expect(row.costNanoUsd).toBeGreaterThan(0)
    return
  }
  const isRefused = status !== 200
  expect({ isWhole, error, isPrefix: sent.startsWith(text) }).toEqual({
    isWhole: false,
    error: expect.any(String),
    isPrefix: true,
  })
  if ('refused' in expected) {
    expect({ status, text, calls }).toEqual({ status: expected.status, text: '', calls: [] })
    expect(row).toMatchObject({ outcome: 'error', status, error: expected.refused })
    return
  }
  const code = 'broken' in expected ? expected.broken : expected.cut
  if ('broken' in expected) expect(status).toBe(200)
  if (isRefused) expect(status).toBeGreaterThanOrEqual(500)
  else expect(row.usage).toMatchObject({ inputTokens: expect.any(Number) })
  expect(row).toMatchObject({ outcome: 'error', status, error: code })
}
