import { connect as connectSocket } from 'node:net'
import express from 'express'
import express4 from 'express4'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { endpoint, type Handler, listener, middleware } from '../http/handler.js'
import { dispatching, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { openEventStream } from '../http/sse.js'
import { errorHandler } from './error-handler.js'
import { metrics } from './metrics.js'
import type { MetricsRegistry } from './metrics-registry.js'
import { notFound } from './not-found.js'
import { prometheusRegistry } from './prometheus-registry.js'

/** Series of a metric as `label=value,… → value`, histograms by their count. */
async function seriesOf(registry: MetricsRegistry, name: string): Promise<Record<string, number>> {
  const snapshot = (await registry.collect()).find((each) => each.name === name)
  return Object.fromEntries(
    (snapshot?.series ?? []).map((series) => [
      Object.values(series.labels).join(' '),
      'value' in series ? series.value : series.count,
    ]),
  )
}
const duration = 'http_server_request_duration_seconds'

/** The answer's end is seen by the caller before the server's `close`. */
const untilCounted = (registry: MetricsRegistry, total: number) =>
  vi.waitFor(async () => {
    const counts = Object.values(await seriesOf(registry, 'tollgate_requests_total'))
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(total)
  }, 10_000)

const fine = endpoint('fine', (_context, _req, res) => sendJson(res, 200, {}))

eachHost((host) => {
  it('counts and times what is answered and what is refused', async () => {
    const observed = metrics({ routes: ['/guarded', '/things/{id}'] })
    const refuses = middleware('refuses', (_context, req) => {
      if (req.headers['x-key'] === undefined) throw new TollgateError('unauthenticated', 'x')
    })
    const { url } = await host.start(observed, refuses, fine, errorHandler())
    for (const path of ['/guarded', '/guarded/', '/things/1?q=1', '/things/2']) await fetch(url + path)
    await fetch(`${url}/guarded`, { headers: { 'x-key': 'x' } })
    await untilCounted(observed.registry, 5)
    expect(await seriesOf(observed.registry, duration)).toEqual({
      'GET /guarded 401': 2,
      'GET /things/{id} 401': 2,
      'GET /guarded 200': 1,
    })
    expect(await seriesOf(observed.registry, 'tollgate_errors_total')).toEqual({ unauthenticated: 4 })
    expect(await seriesOf(observed.registry, 'tollgate_auth_failures_total')).toMatchObject({
      unauthenticated: 4,
      invalid_credentials: 0,
    })
    expect(await seriesOf(observed.registry, 'http_server_active_requests')).toEqual({ GET: 0 })
  })

  it('adds one series for a thousand unknown paths', async () => {
    const observed = metrics()
    const { url } = await host.start(observed, notFound(), errorHandler())
    for (let batch = 0; batch < 20; batch++) {
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          fetch(`${url}/${batch}/${index}/${Math.random()}`).then((response) => response.text()),
        ),
      )
    }
    await untilCounted(observed.registry, 1_000)
    expect(await seriesOf(observed.registry, duration)).toEqual({ 'GET (unmatched) 404': 1_000 })
  })

  it('counts tokens, cost, cache and its own overhead', async () => {
    const observed = metrics()
    const model: Handler = endpoint('model', (context, req, res) => {
      recordUsage(req, {
        provider: 'openai',
        model: 'gpt-x',
        usage: { inputTokens: 10, cacheReadTokens: 5, outputTokens: 7, rows: 2, estimated: false },
        upstreamMs: 0,
      })
      context.costNanoUsd = 1_500
      context.cache = 'miss'
      context.route = '/v1/chat/completions'
      sendJson(res, 200, {})
    })
    const { url } = await host.start(observed, model)
    await fetch(url)
    await fetch(url)
    await untilCounted(observed.registry, 2)
    const { registry } = observed
    expect(await seriesOf(registry, 'tollgate_tokens_total')).toEqual({
      'openai gpt-x input': 20,
      'openai gpt-x cache_read': 10,
      'openai gpt-x output': 14,
    })
    expect(await seriesOf(registry, 'tollgate_rows_total')).toEqual({ 'openai gpt-x': 4 })
    expect((await seriesOf(registry, 'tollgate_cost_usd_total'))['openai gpt-x']).toBeCloseTo(0.000003, 12)
    expect(await seriesOf(registry, 'tollgate_cache_requests_total')).toEqual({ miss: 2 })
    expect(await seriesOf(registry, 'tollgate_overhead_seconds')).toEqual({ '': 2 })
    expect(await seriesOf(registry, 'tollgate_upstream_duration_seconds')).toEqual({ 'openai gpt-x': 2 })
    expect(await seriesOf(registry, duration)).toEqual({ 'GET /v1/chat/completions 200': 2 })
  })

  it('comes back to nothing in flight when callers leave', async () => {
    const observed = metrics()
    let arrived = 0
    const streams = endpoint('streams', async (_context, req, res) => {
      arrived += 1
      if (req.url === '/begun') await openEventStream(res).send('data: 1\n\n')
    })
    const { url } = await host.start(observed, streams)
    const { hostname, port } = new URL(url)
    for (const path of ['/begun', '/silent']) {
      const before = arrived
      const socket = connectSocket({ host: hostname, port: Number(port) })
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      if (path === '/begun') await new Promise((resolve) => socket.once('data', resolve))
      await vi.waitFor(() => expect(arrived).toBe(before + 1), 10_000)
      expect(await seriesOf(observed.registry, 'http_server_active_requests')).toEqual({ GET: 1 })
      socket.destroy()
      await untilCounted(observed.registry, arrived)
    }
    expect(await seriesOf(observed.registry, 'http_server_active_requests')).toEqual({ GET: 0 })
    expect(await seriesOf(observed.registry, 'tollgate_requests_total')).toEqual({ 'GET (unmatched) aborted': 2 })
    expect(await seriesOf(observed.registry, duration)).toEqual({ 'GET (unmatched) 200': 1, 'GET (unmatched) ': 1 })
  })
})

describe.each([
  ['Express 5', express],
  ['Express 4', express4],
])('routes on %s', (_name, make) => {
  it('are told by their whole template, under mounts too', async () => {
    const observed = metrics()
    const app = make()
    const inner = make.Router()
    inner.get('/:id/parts/:part', (_req: express.Request, res: express.Response) => res.json({}))
    const outer = make.Router()
    outer.use('/things', inner)
    outer.get('/', (_req: express.Request, res: express.Response) => res.json({}))
    app.use(observed)
    app.use('/V1', outer)
    const { url } = await listen(app)
    for (const path of ['/v1/things/1/parts/2', '/V1/Things/3/parts/4', '/v1/', '/v1/things/none']) {
      await (await fetch(url + path)).text()
    }
    await untilCounted(observed.registry, 4)
    expect(await seriesOf(observed.registry, duration)).toEqual({
      'GET /v1/things/:id/parts/:part 200': 2,
      'GET /v1 200': 1,
      'GET (unmatched) 404': 1,
    })
  })

  it('stay few where a mount has parameters', async () => {
    const observed = metrics()
    const app = make()
    const merged = make.Router({ mergeParams: true })
    merged.get('/chat', (_req: express.Request, res: express.Response) => res.json({}))
    const plain = make.Router()
    plain.get('/chat', (_req: express.Request, res: express.Response) => res.json({}))
    app.use(observed)
    app.use('/merged/:tenant', merged)
    app.use('/plain/:tenant', plain)
    const { url } = await listen(app)
    for (let index = 0; index < 50; index++) {
      await (await fetch(`${url}/merged/tenant${index}/chat`)).text()
      await (await fetch(`${url}/plain/tenant${index}/chat`)).text()
    }
    await untilCounted(observed.registry, 100)
    const series = await seriesOf(observed.registry, duration)
    expect(series['GET /merged/:tenant/chat 200']).toBe(50)
    expect(series['GET /*/chat 200']).toBe(46)
    expect(Object.keys(series)).toHaveLength(6)
  })
})

it('bounds methods, models, routes', async () => {
  const observed = metrics({
    maxModels: 2,
    maxRoutes: 3,
    routes: (req) => req.headers['x-route'] as string | undefined,
  })
  const model = endpoint('model', (_context, req, res) => {
    const name = String(req.headers['x-model'])
    recordUsage(req, { model: name, provider: 'p', usage: { inputTokens: 1, outputTokens: 0, estimated: false } })
    sendJson(res, 200, {})
  })
  const { url } = await listen(listener(observed, model))
  for (let index = 0; index < 5; index++) {
    await fetch(url, { method: 'PROPFIND', headers: { 'x-model': `m${index}`, 'x-route': `/r${index}` } })
  }
  await untilCounted(observed.registry, 5)
  expect(await seriesOf(observed.registry, 'tollgate_tokens_total')).toEqual({
    'p m0 input': 1,
    'p m1 input': 1,
    'p _other input': 3,
  })
  expect(Object.keys(await seriesOf(observed.registry, duration))).toEqual([
    '_OTHER /r0 200',
    '_OTHER /r1 200',
    '_OTHER /r2 200',
    '_OTHER _other 200',
  ])
})

it('tells answers that broke from callers that left', async () => {
  const observed = metrics()
  const breaks = endpoint('breaks', async (_context, req, res) => {
    if (req.url === '/stream') await openEventStream(res).send('data: 1\n\n')
    if (req.url === '/cut') res.writeHead(200).write('half')
    if (req.url === '/fine') return sendJson(res, 200, {})
    throw new TollgateError(req.url === '/refused' ? 'forbidden' : 'upstream_failed', 'x')
  })
  const { url } = await listen(listener(observed, breaks, errorHandler()))
  for (const path of ['/stream', '/early', '/refused', '/fine']) await (await fetch(url + path)).text()
  await expect(fetch(`${url}/cut`).then((response) => response.text())).rejects.toThrow()
  await untilCounted(observed.registry, 5)
  expect(await seriesOf(observed.registry, 'tollgate_requests_total')).toEqual({
    'GET (unmatched) failed': 3,
    'GET (unmatched) completed': 2,
  })
})

it('makes no label of a model that did not answer', async () => {
  const observed = metrics()
  const refused = endpoint('refused', async (context) => {
    await dispatching(context, { provider: 'p', model: `made-up-${Math.random()}` })
    throw new TollgateError('model_not_found', 'x')
  })
  const { url } = await listen(listener(observed, refused, errorHandler()))
  await fetch(url)
  await untilCounted(observed.registry, 1)
  expect(await observed.registry.expose('prometheus')).not.toContain('made-up')
})

it('counts once though it is mounted twice, and into each registry', async () => {
  const registry = prometheusRegistry()
  const second = metrics()
  const { url } = await listen(listener(metrics({ registry }), metrics({ registry }), second, fine))
  await fetch(url)
  await untilCounted(registry, 1)
  await untilCounted(second.registry, 1)
})

it("knows the reason of a refusal with a host's own error handler", async () => {
  const observed = metrics()
  const refuses = endpoint('refuses', async () => {
    throw new TollgateError('forbidden', 'x')
  })
  const app = express()
  app.use(observed, refuses, ((_error: unknown, _req, res, _next) =>
    res.status(403).end()) as express.ErrorRequestHandler)
  const { url } = await listen(app)
  await fetch(url)
  await untilCounted(observed.registry, 1)
  expect(await seriesOf(observed.registry, 'tollgate_errors_total')).toEqual({ forbidden: 1 })
})

it('refuses options it does not know', () => {
  expect(() => metrics({ bucketsSeconds: [2, 1] })).toThrow(/must ascend/)
  expect(() => metrics({ prefix: '9' })).toThrow(/prefix/)
  expect(() => metrics({ bucket: [] } as never)).toThrow(/bucket/)
})
