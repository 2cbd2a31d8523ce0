import { request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { endpoint, listener, middleware } from './handler.js'
import { holdEnd, onClose, onEnd, type RequestEnd, tapBody } from './observe.js'

/** A middleware that counts the end events of every request, and a promise of the first. */
function observer() {
  const ends: RequestEnd[] = []
  let first: (end: RequestEnd) => void = () => {}
  const ended = new Promise<RequestEnd>((resolve) => {
    first = resolve
  })
  const handler = middleware('observer', (_context, req, res) => {
    onEnd(req, res, (end) => {
      ends.push(end)
      first(end)
    })
  })
  return { handler, ends, ended }
}

/** Long enough for any second event to have come. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 50))

eachHost((host) => {
  it('tells the end once, of a success', async () => {
    const { handler, ends, ended } = observer()
    const { url } = await host.start(
      handler,
      handler,
      endpoint('ok', (_context, _req, res) => void res.end('ok')),
    )
    await (await fetch(url)).text()
    expect(await ended).toMatchObject({ status: 200, aborted: false })
    await settled()
    expect(ends).toHaveLength(2)
  })

  it('tells the end once, of an error that the host answers', async () => {
    const { handler, ends, ended } = observer()
    const { url } = await host.start(
      handler,
      endpoint('fails', async () => {
        throw new Error('broken')
      }),
    )
    expect((await fetch(url)).status).toBe(500)
    expect(await ended).toMatchObject({ status: 500, aborted: false })
    await settled()
    expect(ends).toHaveLength(1)
  })

  it('tells the end once, of HEAD', async () => {
    const { handler, ends, ended } = observer()
    const { url } = await host.start(
      handler,
      endpoint('ok', (_context, _req, res) => void res.end('ok')),
    )
    await fetch(url, { method: 'HEAD' })
    expect(await ended).toMatchObject({ status: 200, aborted: false })
    await settled()
    expect(ends).toHaveLength(1)
  })

  it('tells the end once, of a caller who leaves mid-stream, and aborts the signal', async () => {
    const { handler, ends, ended } = observer()
    let aborted: () => void = () => {}
    const signalled = new Promise<void>((resolve) => {
      aborted = resolve
    })
    const { url } = await host.start(
      handler,
      endpoint('streams', (context, _req, res) => {
        context.signal.addEventListener('abort', () => aborted())
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('data: 1\n\n')
      }),
    )
    const leaving = request(url, (response) => response.once('data', () => leaving.destroy()))
    leaving.on('error', () => {})
    leaving.end()
    await signalled
    expect(await ended).toMatchObject({ status: 200, aborted: true })
    await settled()
    expect(ends).toHaveLength(1)
  })

  it('tells 499 of a caller who leaves before anything was sent', async () => {
    const { handler, ended } = observer()
    const { url } = await host.start(
      handler,
      endpoint('waits', () => void leaving.destroy()),
    )
    const leaving = request(url)
    leaving.on('error', () => {})
    leaving.end()
    expect(await ended).toMatchObject({ status: 499, aborted: true })
  })
})

describe('onEnd', () => {
  it('waits for a hold, so that usage of an aborted stream is seen', async () => {
    const order: string[] = []
    let done: () => void = () => {}
    const finished = new Promise<void>((resolve) => {
      done = resolve
    })
    const { url } = await listen(
      listener(
        endpoint('held', async (_context, req, res) => {
          onEnd(req, res, () => {
            order.push('end')
            done()
          })
          onClose(req, res, () => order.push('close'))
          const release = holdEnd(req, res)
          res.end('ok')
          await new Promise((resolve) => setTimeout(resolve, 20))
          order.push('release')
          release()
          release()
        }),
      ),
    )
    await (await fetch(url)).text()
    await finished
    expect(order).toEqual(['close', 'release', 'end'])
  })

  it('calls a listener that comes after the end, and lets no listener disturb another', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const late = await new Promise<RequestEnd>((resolve) => {
      void listen(
        listener(
          endpoint('late', (_context, req, res) => {
            onEnd(req, res, () => {
              throw new Error('observer failed')
            })
            onEnd(req, res, () => setImmediate(() => onEnd(req, res, resolve)))
            res.end('ok')
          }),
        ),
      ).then(({ url }) => fetch(url).then((response) => response.text()))
    })
    expect(late.status).toBe(200)
    expect(warned).toHaveBeenCalledOnce()
    warned.mockRestore()
  })

  it('tells the end of a pipelined request whose connection breaks before its turn', async () => {
    const ends: string[] = []
    let done: () => void = () => {}
    const both = new Promise<void>((resolve) => {
      done = resolve
    })
    const { url } = await listen(
      listener(
        endpoint('never', (_context, req, res) => {
          onEnd(req, res, (end) => {
            ends.push(`${req.url} ${end.status} ${end.aborted}`)
            if (ends.length === 2) done()
          })
          if (req.url === '/second') socket.destroy()
        }),
      ),
    )
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => {
      socket.write('GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n')
    })
    socket.on('error', () => {})
    await both
    expect(ends.sort()).toEqual(['/first 499 true', '/second 499 true'])
  })
})

describe('tapBody', () => {
  it('sees every byte once, whatever it was written as, and leaves the answer alone', async () => {
    const seen: Buffer[] = []
    const events: string[] = []
    const { url } = await listen(
      listener(
        middleware('taps', (_context, _req, res) => {
          tapBody(res, {
            head: () => events.push(`head ${res.statusCode}`),
            chunk: (bytes) => seen.push(Buffer.from(bytes)),
            end: () => events.push('end'),
          })
          tapBody(res, { chunk: () => {} })
        }),
        endpoint('writes', (_context, _req, res) => {
          res.statusCode = 201
          res.write('aé')
          res.write(Buffer.from('b'))
          res.write('63', 'hex')
          res.write(new Uint8Array([100]), () => events.push('callback'))
          res.end('e', () => events.push('finished'))
        }),
      ),
    )
    const response = await fetch(url)
    expect(response.status).toBe(201)
    expect(await response.text()).toBe('aébcde')
    expect(Buffer.concat(seen).toString()).toBe('aébcde')
    expect(events.slice(0, 2)).toEqual(['head 201', 'end'])
    expect(events).toContain('callback')
    expect(events).toContain('finished')
  })
})
