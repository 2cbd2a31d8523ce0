import { expect, it } from 'vitest'
import type { WireName } from './fault-gate.js'
import { faultGate } from './fault-gate.js'
import { ask, type SurfaceName } from './surfaces.js'

/** Asks once, with an upstream that streams these bytes. */
async function streamed(wire: WireName, surface: SurfaceName, body: string) {
  const { url, upstream, row } = await faultGate(wire)
  upstream.play('model', async (line) => {
    await line.head({ 'content-type': 'text/event-stream' })
    await line.send(body)
    line.end()
  })
  return { heard: await ask(url, surface, 'model', true), row: await row('model') }
}

const data = (...events: unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')

it("Google's last words are not lost where the last event has no blank line", async () => {
  const event = (text: string, more: object = {}) => ({ candidates: [{ content: { parts: [{ text }] }, ...more }] })
  const body = data(event('Hello '), event('world.', { finishReason: 'STOP' })).trimEnd()
  const { heard } = await streamed('gemini', 'chat', body)
  expect(heard).toMatchObject({ text: 'Hello world.', isWhole: true })
})
