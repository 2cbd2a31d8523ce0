import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { endpoint, listener } from './handler.js'
import { onEnd } from './observe.js'
import { drained, writeDrained } from './respond.js'

/** Bytes that no socket takes at once. */
const large = Buffer.alloc(32_000_000, 1)

eachHost((host) => {
  it('takes a reader who takes nothing for one who has gone', async () => {
    let tell: (aborted: boolean) => void = () => {}
    const ended = new Promise<boolean>((resolve) => {
      tell = resolve
    })
    const { url } = await host.start(
      endpoint('streams', async (_context, req, res) => {
        onEnd(req, res, ({ aborted }) => tell(aborted))
        res.write(large)
        await drained(res, 100)
      }),
    )
    const socket = connect(Number(new URL(url).port), '127.0.0.1').pause()
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    expect(await ended).toBe(true)
    socket.destroy()
  })
})

it('leaves a reader alone who takes a little now and then, and the time limit of the server as it was', async () => {
  const timeouts: unknown[] = []
  const { url } = await listen(
    listener(
      endpoint('streams', async (_context, _req, res) => {
        for (let count = 0; count < 3; count += 1) {
          if (!res.write(large)) await drained(res, 400)
          timeouts.push(res.socket?.timeout)
        }
        await writeDrained(res, large)
        res.end()
      }),
    ),
  )
  const response = await fetch(url)
  let length = 0
  let sinceRest = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    sinceRest += chunk.length
    if (sinceRest < 8_000_000) continue
    sinceRest = 0
    await new Promise((resolve) => setTimeout(resolve, 60))
  }
  expect(length).toBe(4 * large.length)
  expect(timeouts).toEqual([0, 0, 0])
})
