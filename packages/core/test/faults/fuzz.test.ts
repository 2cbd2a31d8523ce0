import fc from 'fast-check'
import { it } from 'vitest'
import { check, type Lane, lanes, scriptsFor } from './expected.js'
import { type FaultGate, faultGate, limits } from './fault-gate.js'
import type { Play } from './faulty-upstream.js'
import { ask } from './surfaces.js'

/** How a stream is sent, and where it goes wrong. */
interface Course {
  readonly sizes: readonly number[]
  readonly isChunked: boolean
  readonly cut: { readonly how: 'none' | 'end' | 'reset' | 'silence' | 'nonsense'; readonly at: number }
}

const course: fc.Arbitrary<Course> = fc.record({
  sizes: fc.array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5_000 })), {
    minLength: 1,
    maxLength: 8,
  }),
  isChunked: fc.boolean(),
  cut: fc.record({
    how: fc.constantFrom('none', 'none', 'end', 'end', 'reset', 'reset', 'nonsense', 'nonsense', 'silence'),
    // Of a million: where in the bytes.
    at: fc.nat({ max: 1_000_000 }),
  }),
})

function playOf({ sizes, isChunked, cut }: Course): Play {
  return async (line, { contentType, pieces }) => {
    const whole = Buffer.concat(pieces)
    const end = cut.how === 'none' ? whole.length : Math.floor((whole.length * cut.at) / 1_000_001)
    await line.head({ 'content-type': contentType, ...(isChunked ? { 'transfer-encoding': 'chunked' } : {}) })
    for (let at = 0, turn = 0; at < end && !line.left(); turn += 1) {
      const size = Math.min(sizes[turn % sizes.length] ?? 1, end - at)
      const bytes = whole.subarray(at, at + size)
      await line.send(isChunked ? chunk(bytes) : bytes)
      at += size
    }
    if (cut.how === 'silence') await line.silence()
    if (cut.how === 'reset') line.reset()
    if (cut.how === 'nonsense')
      await line.send(isChunked ? chunk(Buffer.from('}\n\ndata: }{\n\n')) : '}\n\ndata: }{\n\n')
    if (isChunked && cut.how !== 'end') await line.send('0\r\n\r\n')
    line.end()
  }
}

function chunk(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
}

let asked = 0

/** Never a wrong text, never a clean end of what is not whole, never a hang, always one row. */
async function holds({ url, upstream, row }: FaultGate, lane: Lane, script: object, each: Course, isStream: boolean) {
  asked += 1
  const model = `model-${asked}`
  upstream.play(model, playOf(each), script)
  const heard = await ask(url, lane.surface, model, isStream)
  const kept = await row(model)
  if (heard.status === 200 && heard.error === undefined) {
    check(heard, kept, kept.usage?.estimated === true ? 'counted' : 'whole', script)
  } else {
    if (each.cut.how === 'none') throw new Error(`an error without a fault: ${heard.raw}`)
    check(heard, kept, { cut: kept.error as 'upstream_failed' }, script)
    if (!/^upstream_(?:failed|invalid|timeout)$/.test(kept.error ?? '')) throw new Error(`told as ${kept.error}`)
  }
}

it.each(lanes)('$wire behind $surface, however it is cut', async (lane) => {
  const gate = await faultGate(lane.wire, { bodyIdleTimeoutMs: limits.short.bodyIdleTimeoutMs })
  const scripts = scriptsFor(lane)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ each: course, script: fc.constantFrom(...scripts), isStream: fc.boolean() }), {
        minLength: 1,
        maxLength: 6,
      }),
      async (calls) => {
        await Promise.all(calls.map(({ each, script, isStream }) => holds(gate, lane, script, each, isStream)))
      },
    ),
    { numRuns: 15 },
  )
})
