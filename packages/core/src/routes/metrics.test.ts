import { expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { endpoint, listener } from '../http/handler.js'
import { recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { errorHandler } from '../middleware/error-handler.js'
import { metrics } from '../middleware/metrics.js'
import { prometheusRegistry } from '../middleware/prometheus-registry.js'
import type { MetricsSummary } from '../wire/metrics.js'
import { metricsRoute } from './metrics.js'

eachHost((host) => {
  it('answers in the format that is asked for', async () => {
    const observed = metrics()
    const { url } = await host.start(
      observed,
      ['/metrics', metricsRoute({ registry: observed.registry })],
      errorHandler(),
    )
    const get = (accept?: string) => fetch(`${url}/metrics`, accept === undefined ? {} : { headers: { accept } })
    const text = await get()
    expect(text.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(text.headers.get('cache-control')).toBe('no-store')
    expect(await text.text()).toContain('# TYPE tollgate_requests_total counter\n')
    const open = await get('application/openmetrics-text;version=1.0.0,text/plain;q=0.5')
    expect(open.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    expect(await open.text()).toMatch(/# TYPE tollgate_requests counter\n[\s\S]*# EOF\n$/)
    const json = await get('application/json')
    expect(json.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(await json.json()).toHaveProperty('requests.in_flight', 1)
    const refused = await fetch(`${url}/metrics`, { method: 'POST' })
    expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })
})

it('sums up in JSON', async () => {
  const observed = metrics()
  const work = endpoint('work', (context, req, res) => {
    if (req.url === '/refused') throw new TollgateError('invalid_credentials', 'x')
    const usage = { inputTokens: 3, outputTokens: 4, estimated: false }
    recordUsage(req, { provider: 'p', model: req.url === '/b' ? 'b' : 'a', usage, upstreamMs: 0 })
    context.costNanoUsd = 100_000_001
    context.cache = req.url === '/b' ? 'hit' : 'miss'
    sendJson(res, 200, {})
  })
  const { url } = await listen(listener(observed, work, errorHandler()))
  const summary = await listen(listener(metricsRoute({ registry: observed.registry })))
  const read = async () =>
    (await (await fetch(summary.url, { headers: { accept: 'application/json' } })).json()) as MetricsSummary

  expect(await read()).toMatchObject({
    requests: { total: 0, in_flight: 0, by_status: {} },
    duration_seconds: { count: 0, mean: null, p50: null, p99: null },
    cache: { hit_ratio: null },
  })
  for (const path of ['/a', '/a', '/b', '/refused']) await (await fetch(url + path)).text()
  await vi.waitFor(async () => expect((await read()).requests.total).toBe(4), 10_000)
  const told = await read()
  expect(told).toMatchObject({
    requests: {
      total: 4,
      in_flight: 0,
      aborted: 0,
      failed: 0,
      by_status: { '200': 3, '401': 1 },
      errors: { invalid_credentials: 1 },
      auth_failures: { invalid_credentials: 1, unauthenticated: 0 },
    },
    duration_seconds: { count: 4 },
    overhead_seconds: { count: 3 },
    tokens: { total: 21, by_type: { input: 9, output: 12 }, by_model: { a: 14, b: 7 } },
    cost_usd: { total: 0.300000003, by_model: { a: 0.200000002, b: 0.100000001 } },
    cache: { hit: 1, miss: 2, bypass: 0, collapsed: 0, hit_ratio: 1 / 3 },
  })
})

it('estimates percentiles as PromQL does', async () => {
  const registry = prometheusRegistry()
  const duration = registry.histogram({
    name: 'http_server_request_duration_seconds',
    help: 'x',
    labels: ['http_response_status_code'],
    buckets: [1, 2, 4],
  })
  for (let index = 0; index < 50; index++) duration.series('200').observe(0.5)
  for (let index = 0; index < 40; index++) duration.series('500').observe(1.5)
  for (let index = 0; index < 10; index++) duration.series('200').observe(100)
  const { url } = await listen(listener(metricsRoute({ registry })))
  const { duration_seconds, requests } = (await (
    await fetch(url, { headers: { accept: 'application/json' } })
  ).json()) as MetricsSummary
  expect(duration_seconds).toMatchObject({ count: 100, p50: 1, p95: 4, p99: 4 })
  expect(duration_seconds.mean).toBeCloseTo((25 + 60 + 1_000) / 100)
  expect(requests.by_status).toEqual({ '200': 60, '500': 40 })
})

it('refuses to be made without a registry', () => {
  expect(() => metricsRoute({} as never)).toThrow(/registry/)
})
