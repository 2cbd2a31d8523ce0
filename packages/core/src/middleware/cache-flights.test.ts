import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { ask, counting, serve } from '../../test/cached-handler.js'
import { contextOf, type RequestContext } from '../http/context.js'
import { middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { sendJson } from '../http/respond.js'

/** A door that handlers wait at. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

describe('identical requests in flight', () => {
  it('run the handler once', async () => {
    const door = gate()
    const outcomes: Array<RequestContext['cache']> = []
    const { handler, runs } = counting(async (_req, res, run) => {
      await door.opened
      sendJson(res, 200, { run })
    })
    let arrived = 0
    const all = gate()
    const count = middleware('count', (context, req, res) => {
      arrived += 1
      onEnd(req, res, () => outcomes.push(context.cache))
      if (arrived === 100) setImmediate(() => setImmediate(all.open))
    })
    const url = await serve({}, handler, count)
    const asked = Array.from({ length: 100 }, () => ask(url))
    await all.opened
    door.open()
    const told = await Promise.all(asked)
    expect(runs()).toBe(1)
    expect(told.every(({ body }) => body.run === 1)).toBe(true)
    expect(told.filter(({ cacheStatus }) => cacheStatus?.includes('stored'))).toHaveLength(1)
    const shared = told.filter(({ cacheStatus }) => cacheStatus === 'tollgate; fwd=uri-miss; collapsed')
    expect(shared.length).toBeGreaterThan(90)
    await vi.waitFor(() => expect(outcomes).toHaveLength(100), 10_000)
    expect(outcomes.filter((outcome) => outcome === 'miss')).toHaveLength(1)
  })

  it('of different callers do not wait for each other', async () => {
    const door = gate()
    const { handler, runs } = counting(async (req, res, run) => {
      if (req.headers['x-who'] === 'acme/ann') await door.opened
      sendJson(res, 200, { run })
    })
    const url = await serve({}, handler)
    const slow = ask(url, { who: 'acme/ann' })
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    expect((await ask(url, { who: 'acme/bob' })).body).toEqual({ run: 2 })
    door.open()
    expect((await slow).body).toEqual({ run: 1 })
  })

  it('after an error take the lead one at a time', async () => {
    const doors = [gate(), gate()]
    let together = 0
    let most = 0
    const { handler, runs } = counting(async (_req, res, run) => {
      together += 1
      most = Math.max(most, together)
      await doors[Math.min(run, 2) - 1]?.opened
      together -= 1
      sendJson(res, run === 1 ? 500 : 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const asked = Array.from({ length: 5 }, () => ask(url))
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(5), 10_000)
    await new Promise(setImmediate)
    doors[0]?.open()
    await vi.waitFor(() => expect(runs()).toBe(2), 10_000)
    doors[1]?.open()
    const told = await Promise.all(asked)
    expect(told.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 500])
    expect(runs()).toBe(2)
    expect(most).toBe(1)
  })

  it('run at once when the answer is good but not to be kept', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) await door.opened
      sendJson(res, 200, { run }, { 'set-cookie': `run=${run}` })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const asked = Array.from({ length: 4 }, () => ask(url))
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(4), 10_000)
    await new Promise(setImmediate)
    door.open()
    const told = await Promise.all(asked)
    expect(new Set(told.map(({ body }) => body.run)).size).toBe(4)
    expect(runs()).toBe(4)
  })

  it('go on when the first caller leaves and its handler stops', async () => {
    const leaving = new AbortController()
    const { handler, runs } = counting(async (req, res, run) => {
      if (run === 1) {
        const { signal } = contextOf(req, res)
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        throw signal.reason
      }
      sendJson(res, 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const first = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const others = [ask(url), ask(url)]
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(3), 10_000)
    await new Promise(setImmediate)
    leaving.abort()
    expect(await first).toBe('left')
    expect((await Promise.all(others)).map(({ body }) => body)).toEqual([{ run: 2 }, { run: 2 }])
    expect(runs()).toBe(2)
  })

  it('get the answer of a handler that finishes though its caller has left', async () => {
    const leaving = new AbortController()
    const doors = [gate(), gate()]
    const closed = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) res.once('close', closed.open)
      await doors[run - 1]?.opened
      sendJson(res, 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const first = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const others = [ask(url), ask(url)]
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(3), 10_000)
    await new Promise(setImmediate)
    leaving.abort()
    await Promise.all([first, closed.opened])
    // One of the two leads now; the old leader finishes first, and the one that still waits has its answer.
    await vi.waitFor(() => expect(runs()).toBe(2), 10_000)
    doors[0]?.open()
    expect((await Promise.race(others)).body).toEqual({ run: 1 })
    doors[1]?.open()
    expect((await Promise.all(others)).map(({ body }) => body.run).sort()).toEqual([1, 2])
  })

  it('stop waiting when their caller leaves, without a run', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      await door.opened
      sendJson(res, 200, { run })
    })
    const left = gate()
    let arrived = 0
    const arrivals = middleware('arrivals', (_context, _req, res) => {
      arrived += 1
      if (arrived === 2) res.once('close', left.open)
    })
    const url = await serve({}, handler, arrivals)
    const first = ask(url)
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const leaving = new AbortController()
    const second = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(arrived).toBe(2), 10_000)
    leaving.abort()
    expect(await second).toBe('left')
    await left.opened
    door.open()
    expect((await first).body).toEqual({ run: 1 })
    expect(runs()).toBe(1)
  })

  it('wait no longer than they may, and no more of them than may', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) await door.opened
      sendJson(res, 200, { run })
    })
    const url = await serve({ maxWaitMs: 20, maxWaiters: 1 }, handler)
    const first = ask(url)
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const told = await Promise.all([ask(url), ask(url)])
    expect(told.every(({ body }) => (body.run ?? 0) > 1)).toBe(true)
    door.open()
    expect((await first).body).toEqual({ run: 1 })
  })
})

it('holds nothing for pipelined requests whose connection breaks', async () => {
  const door = gate()
  const { handler, runs } = counting(async (_req, res, run) => {
    await door.opened
    sendJson(res, 200, { run })
  })
  const closed = vi.fn()
  const watch = middleware('watch', (_context, req, res) => onEnd(req, res, closed))
  const url = await serve({}, handler, watch)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  const body = '{"prompt":"hi"}'
  const raw = `POST /ask HTTP/1.1\r\nhost: x\r\nx-who: acme/ann\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  socket.write(raw + raw)
  await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
  socket.destroy()
  await vi.waitFor(() => expect(closed).toHaveBeenCalled(), 10_000)
  door.open()
  expect((await ask(url)).status).toBe(200)
})
