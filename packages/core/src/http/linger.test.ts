import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { connect } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { listen, type RunningServer } from '../../test/hosts.js'
import { lingerForBody, lingerLimits } from './linger.js'

/** A server that answers every request at once and lingers, with the sockets it has. */
async function refusing(): Promise<RunningServer & { sockets: Socket[] }> {
  const sockets: Socket[] = []
  const running = await listen((req, res) => {
    sockets.push(req.socket)
    lingerForBody(req, res)
    lingerForBody(req, res)
    res.writeHead(413, { 'content-length': '2' }).end('no')
  })
  return { ...running, sockets }
}

/** `once` would reject on the error that comes with a reset. */
const closeOf = (socket: Socket) =>
  socket.closed ? Promise.resolve() : new Promise<void>((resolve) => socket.once('close', () => resolve()))

/** A caller that has sent the head of a large upload and got the answer. */
async function answered({ server }: RunningServer): Promise<Socket> {
  // Half open, as of those who go on sending after the server's end.
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  socket.on('error', () => {})
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\nbegun')
  let text = ''
  while (!text.endsWith('\r\n\r\nno')) text += String((await once(socket, 'data'))[0])
  expect(text).toMatch(/^HTTP\/1\.1 413 [\s\S]*connection: close/i)
  return socket
}

afterEach(() => void vi.useRealTimers())

it('closes on a caller that sends nothing more, after its time', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const running = await refusing()
  const socket = await answered(running)
  const [own] = running.sockets
  if (own?.writableFinished === false) await once(own, 'finish')
  vi.advanceTimersByTime(lingerLimits.maxMs - 1)
  expect(own?.destroyed).toBe(false)
  vi.advanceTimersByTime(1)
  expect(own?.destroyed).toBe(true)
  socket.destroy()
})

it('closes on a caller that does not stop, after its bytes', async () => {
  const running = await refusing()
  const socket = await answered(running)
  const chunk = Buffer.alloc(262_144)
  const more = () => {
    while (!socket.destroyed && socket.write(chunk)) {}
  }
  socket.on('drain', more)
  more()
  const [own] = running.sockets
  if (own === undefined) throw new Error('no connection')
  await closeOf(own)
  expect(own.bytesRead).toBeGreaterThan(lingerLimits.maxBytes)
  expect(own.bytesRead).toBeLessThan(lingerLimits.maxBytes + 1_048_576)
  socket.destroy()
})

it('leaves nothing behind when the caller goes', async () => {
  const running = await refusing()
  const socket = await answered(running)
  const [own] = running.sockets
  if (own === undefined) throw new Error('no connection')
  const closed = closeOf(own)
  socket.destroy()
  await closed
  expect(own.destroyed).toBe(true)
})
