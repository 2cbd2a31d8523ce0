import { crc32 } from 'node:zlib'
import { expect, it } from 'vitest'
import { gc, mebibyte } from '../media-gate.js'
import { type Lane, lanes } from './expected.js'
import { faultGate } from './fault-gate.js'
import type { HealthyAnswer, Line } from './faulty-upstream.js'
import { ask, surfaces } from './surfaces.js'

const word = 'Q'.repeat(8_192)
const words = (50 * mebibyte) / word.length
/** What may be taken beyond what the first tenth took: far less than what comes. */
const flatBytes = 20 * mebibyte

const titled = lanes.map((lane) => ({ ...lane, title: `${lane.wire} behind ${lane.surface}` }))

/** The head, and all events with the one of the word as often as is wanted. */
async function atLength(line: Line, { contentType, pieces }: HealthyAnswer, onSent: () => void): Promise<void> {
  await line.head({ 'content-type': contentType })
  const at = pieces.findIndex((piece) => piece.includes(word))
  await line.send(Buffer.concat(pieces.slice(0, at)))
  for (let sent = 0; sent < words && !line.left(); sent += 1) {
    await line.send(pieces[at] as Buffer)
    onSent()
  }
  await line.send(Buffer.concat(pieces.slice(at + 1)))
  line.end()
}

// The Responses API says everything once more at its end: what is put into its words is kept until then, within the bound of an answer.
const passing = titled.filter(({ wire, surface }) => surface !== 'responses' || wire === 'openai')

it.each(passing)(
  '$title: 50 MB of a stream arrive, in as much memory as little ones',
  async ({ wire, surface }) => {
    const { url, upstream, row } = await faultGate(wire)
    const taken: number[] = []
    let sent = 0
    upstream.play(
      'model',
      (line, healthy) =>
        atLength(line, healthy, () => {
          sent += 1
          if (sent % 512 !== 0) return
          gc()
          const { arrayBuffers, heapUsed } = process.memoryUsage()
          taken.push(arrayBuffers + heapUsed)
        }),
      { text: word },
    )
    const { path, request } = surfaces[surface]
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...request('model'), stream: true }),
    })
    let arrived = 0
    let tail = Buffer.alloc(0)
    for await (const chunk of response.body ?? []) {
      for (const byte of chunk) if (byte === 81) arrived += 1
      tail = Buffer.concat([tail, chunk]).subarray(-200)
    }
    // Its events that end the text, the part, the item and all say the upstream's word again.
    expect(arrived).toBe(50 * mebibyte + (surface === 'responses' ? 4 * word.length : 0))
    expect(tail.toString('utf8')).toMatch(/\[DONE\]|message_stop|response\.completed|\}\}\n\n$/)
    expect(await row('model')).toMatchObject({ outcome: 'ok', usage: { outputTokens: expect.any(Number) } })
    // What was freed is given back in the background: the least of the last third is what is held.
    const [first = 0] = taken
    expect(Math.min(...taken.slice(-taken.length / 3)) - first).toBeLessThan(flatBytes)
  },
  120_000,
)

it.each(titled)('$title: an event of 50 MB is refused before it is all there', async (lane: Lane) => {
  const { url, upstream, row } = await faultGate(lane.wire)
  let sent = 0
  upstream.play('model', async (line, { contentType, isServerSent }) => {
    await line.head({ 'content-type': contentType })
    await line.send(isServerSent ? 'data: {"choices":"' : lengthOf(50 * mebibyte))
    for (; sent < 50 * mebibyte && !line.left(); sent += word.length) await line.send(word)
    await line.silence()
  })
  const heard = await ask(url, lane.surface, 'model', true)
  expect(heard).toMatchObject({ status: 502, text: '', error: expect.any(String) })
  expect(await row('model')).toMatchObject({ outcome: 'error', error: 'upstream_invalid' })
  expect(sent).toBeLessThan(30 * mebibyte)
})

it('a stream beyond the bound of an answer is an error where it passes it', async () => {
  const { url, upstream, row } = await faultGate('openai', { maxResponseBytes: mebibyte })
  upstream.play('model', (line, healthy) => atLength(line, healthy, () => {}), { text: word })
  const heard = await ask(url, 'chat', 'model', true)
  expect(heard).toMatchObject({ status: 200, isWhole: false, error: 'upstream_invalid' })
  expect(await row('model')).toMatchObject({ outcome: 'error', error: 'upstream_invalid' })
})

it.each(titled)('$title: an answer of 20 MB in JSON arrives', async ({ wire, surface }) => {
  const text = word.repeat((20 * mebibyte) / word.length)
  const { url, upstream, row } = await faultGate(wire)
  upstream.play('model', undefined, { text })
  const heard = await ask(url, surface, 'model', false)
  expect([heard.status, heard.text === text]).toEqual([200, true])
  expect(await row('model')).toMatchObject({ outcome: 'ok' })
})

/** What an event of Amazon's begins with, checksum and all. */
function lengthOf(bytes: number): Buffer {
  const prelude = Buffer.alloc(12)
  prelude.writeUInt32BE(bytes, 0)
  prelude.writeUInt32BE(crc32(prelude.subarray(0, 8)), 8)
  return prelude
}
