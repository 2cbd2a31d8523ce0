import { register } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { prometheusRegistry } from './prometheus-registry.js'

function filled() {
  const registry = prometheusRegistry()
  const requests = registry.counter({ name: 'requests_total', help: 'Requests.', labels: ['route', 'code'] })
  requests.series('/a', '200').add(2)
  requests.series('/b', '500').add(1)
  registry.gauge({ name: 'active', help: 'Active.' }).series().set(3)
  const seconds = registry.histogram({ name: 'seconds', help: 'Seconds.', labels: ['route'], buckets: [0.5, 2] })
  for (const value of [0.1, 1, 9, Number.NaN]) seconds.series('/a').observe(value)
  return registry
}

describe('prometheusRegistry', () => {
  it("writes Prometheus' text format", async () => {
    expect(await filled().expose('prometheus')).toBe(
      `${[
        '# HELP requests_total Requests.\n# TYPE requests_total counter',
        'requests_total{route="/a",code="200"} 2\nrequests_total{route="/b",code="500"} 1\n',
        '# HELP active Active.\n# TYPE active gauge\nactive 3\n',
        '# HELP seconds Seconds.\n# TYPE seconds histogram',
        'seconds_bucket{route="/a",le="0.5"} 1\nseconds_bucket{route="/a",le="2"} 2\nseconds_bucket{route="/a",le="+Inf"} 3',
        'seconds_sum{route="/a"} 10.1\nseconds_count{route="/a"} 3',
      ].join('\n')}\n`,
    )
  })

  it('writes OpenMetrics, and both again and at once', async () => {
    const registry = filled()
    const text = await registry.expose('prometheus')
    const open = await registry.expose('openmetrics')
    expect(open).toContain('# TYPE requests counter\nrequests_total{route="/a",code="200"} 2\n')
    expect(open.endsWith('\n# EOF\n')).toBe(true)
    expect(open).not.toContain('\n\n')
    const again = await Promise.all([
      registry.expose('openmetrics'),
      registry.expose('prometheus'),
      registry.expose('openmetrics'),
      registry.expose('prometheus'),
    ])
    expect(again).toEqual([open, text, open, text])
  })

  it('gives values', async () => {
    expect(await filled().collect()).toEqual([
      {
        name: 'requests_total',
        kind: 'counter',
        series: [
          { labels: { route: '/a', code: '200' }, value: 2 },
          { labels: { route: '/b', code: '500' }, value: 1 },
        ],
      },
      { name: 'active', kind: 'gauge', series: [{ labels: {}, value: 3 }] },
      {
        name: 'seconds',
        kind: 'histogram',
        series: [
          {
            labels: { route: '/a' },
            count: 3,
            sum: 10.1,
            buckets: [
              { upTo: 0.5, count: 1 },
              { upTo: 2, count: 2 },
              { upTo: Number.POSITIVE_INFINITY, count: 3 },
            ],
          },
        ],
      },
    ])
  })

  it('keeps series apart whatever their labels hold, and lets no value forge a line', async () => {
    const registry = prometheusRegistry()
    const counter = registry.counter({ name: 'x_total', help: 'x', labels: ['a', 'b'] })
    const histogram = registry.histogram({ name: 'y', help: 'y', labels: ['a', 'b'], buckets: [1] })
    const values = [
      ['1,b:2', ''],
      ['1', '2'],
      ['1,b:2,', '3'],
      ['quote"} 9\nforged_total 1', '\\'],
      ['ft:gpt:org', 'é'],
    ] as const
    for (const [a, b] of values) {
      counter.series(a, b).add(1)
      histogram.series(a, b).observe(0.5)
    }
    const text = await registry.expose('prometheus')
    const lines = text.split('\n').filter((line) => line.startsWith('x_total'))
    expect(lines).toHaveLength(values.length)
    expect(lines.every((line) => line.endsWith(' 1'))).toBe(true)
    expect(text.split('\n').filter((line) => line.startsWith('y_count'))).toHaveLength(values.length)
    expect(text).not.toMatch(/^forged/m)
    expect(text).toContain('x_total{a="ft:gpt:org",b="é"} 1')
    counter.series('x'.repeat(10_000), '').add(1)
    expect(await registry.expose('prometheus')).not.toContain('x'.repeat(129))
  })

  it('gives the metric that is there, and refuses another kind or other labels', () => {
    const registry = filled()
    const definition = { name: 'requests_total', help: 'Requests.', labels: ['route', 'code'] }
    expect(registry.counter(definition)).toBe(registry.counter(definition))
    expect(() => registry.gauge(definition)).toThrow(/is a counter, not a gauge/)
    expect(() => registry.counter(definition).series('/a')).toThrow(/2 labels/)
  })

  it("stays away from prom-client's global registry", async () => {
    const registry = prometheusRegistry({ processMetrics: true })
    expect(register.getMetricsAsArray()).toEqual([])
    expect(await registry.expose('prometheus')).toContain('process_cpu_user_seconds_total')
    const open = await registry.expose('openmetrics')
    expect(open).toContain('# TYPE process_cpu_user_seconds counter')
    expect(await registry.expose('prometheus')).toContain('process_cpu_user_seconds_total')
  })

  it('refuses options it does not know', () => {
    expect(() => prometheusRegistry({ process: true } as never)).toThrow(/process/)
  })
})
