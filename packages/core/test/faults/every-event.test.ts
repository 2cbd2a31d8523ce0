import { expect, it } from 'vitest'
import { check, type Expected, lanes } from './expected.js'
import { faultGate, limits } from './fault-gate.js'
import type { HealthyAnswer, Line } from './faulty-upstream.js'
import { ask } from './surfaces.js'

const lastChunk = '0\r\n\r\n'
const chunk = (bytes: Buffer) =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])

/** Ways to go wrong once so many events are out. */
const faults: ReadonlyArray<{
  readonly name: string
  readonly code: Extract<Expected, { cut: unknown }>['cut']
  readonly isSlow?: boolean
  readonly play: (line: Line, healthy: HealthyAnswer) => void | Promise<void>
}> = [
  { name: 'a reset', code: 'upstream_failed', play: (line) => line.reset() },
  { name: 'a clean end', code: 'upstream_invalid', play: (line) => line.send(lastChunk) },
  { name: 'silence', code: 'upstream_timeout', isSlow: true, play: (line) => line.silence() },
  {
    name: 'an error of the upstream',
    code: 'upstream_failed',
    play: (line, { error }) => line.send(chunk(error({ message: 'no' }))),
  },
  {
    name: 'half an event',
    code: 'upstream_invalid',
    async play(line, { pieces }) {
      await line.send(chunk((pieces[1] as Buffer).subarray(0, -12)))
      await line.send(lastChunk)
    },
  },
]

const cases = lanes.flatMap((lane) =>
  faults.map((fault) => ({ ...fault, lane, title: `${lane.wire} behind ${lane.surface}` })),
)

it.each(cases)('$title: $name after every event is an error, or all has come', async ({ lane, code, isSlow, play }) => {
  const { url, upstream, row, rows } = await faultGate(lane.wire, isSlow === true ? limits.short : {})
  // A first answer says how many there are.
  let events = 0
  upstream.play('model', async (line, healthy) => {
    events = healthy.pieces.length
    await line.head({ 'content-type': healthy.contentType })
    await line.send(Buffer.concat(healthy.pieces))
    line.end()
  })
  check(await ask(url, lane.surface, 'model', true), (await rows(1))[0], 'whole')
  const ends = Array.from({ length: events }, (_, count) => count)
  await Promise.all(
    ends.map(async (count) => {
      upstream.play(`model-${count}`, async (line, healthy) => {
        await line.head({ 'content-type': healthy.contentType, 'transfer-encoding': 'chunked' })
        for (const piece of healthy.pieces.slice(0, count)) await line.send(chunk(piece))
        await play(line, healthy)
      })
      const heard = await ask(url, lane.surface, `model-${count}`, true)
      // Where a reason has come, all of the answer has: only what comes behind it is missing.
      const mayBeWhole = count >= events - 2 && heard.error === undefined
      const kept = await row(`model-${count}`)
      check(heard, kept, mayBeWhole ? (kept.usage?.estimated === true ? 'counted' : 'whole') : { cut: code })
    }),
  )
  expect(await rows(events + 1)).toHaveLength(events + 1)
})
