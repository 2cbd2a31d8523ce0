import { describe, expect, it } from 'vitest'
import { gpuAvailable } from '../src/gpu.js'
import { apiKey, post, startGate, startGateway } from './running-gate.js'

describe('the server', () => {
  it('tells that it lives, what is loaded, and when it is ready', async () => {
    const { url, gate } = await startGate()
    await gate.service.ready()
    await expect.poll(async () => (await fetch(`${url}/ready`)).status).toBe(200)
    const health = (await (await fetch(`${url}/health`)).json()) as {
      models: Array<{ id: string; versions: string[] }>
    }
    expect(health).toMatchObject({ status: 'ok', version: '1.2.3', gpu_available: gpuAvailable() })
    expect(health.models.map(({ id }) => id).sort()).toContain('iris')
    expect(health.models.find(({ id }) => id === 'language-id')?.versions).toEqual(['1.0.0'])
    gate.ready.draining = true
    gate.draining.begin()
    const draining = await fetch(`${url}/ready`)
    expect(draining.status).toBe(503)
    expect(await draining.json()).toMatchObject({ status: 'draining' })
    expect((await post(`${url}/v1/predict`, { text: 'hello' })).status).toBe(503)
    expect((await fetch(`${url}/health`)).status).toBe(200)
  })

  it('lives whatever becomes of its upstream', async () => {
    const { url, upstream } = await startGateway()
    await upstream.close()
    const health = await fetch(`${url}/health`)
    expect(health.status).toBe(200)
    expect(upstream.calls).toHaveLength(0)
    expect(((await health.json()) as { models: Array<{ id: string }> }).models.map(({ id }) => id)).toContain('iris')
  })

  it('is not ready before its models are', async () => {
    const { url } = await startGate()
    const early = await fetch(`${url}/ready`)
    // Loading takes longer than one answer; if it ever does not, both are right.
    expect([200, 503]).toContain(early.status)
    if (early.status === 503) expect(await early.json()).toMatchObject({ status: 'loading' })
    await expect.poll(async () => (await fetch(`${url}/ready`)).status).toBe(200)
  })

  it('refuses over the limit of the tier, and says when to come back', async () => {
    const { url } = await startGate({ API_KEY_TIER: 'free', RATE_LIMIT_FREE: '3' })
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(`${url}/v1/predict`, { text: 'hello' })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 429, 429, 429, 429, 429])
    const refused = answers.find(({ status }) => status === 429) as Response
    expect(refused.headers.get('ratelimit-policy')).toContain(';q=3;w=60')
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({ code: 'rate_limited', 'violated-policies': expect.any(Array) })
    expect((await fetch(`${url}/health`)).status).toBe(200)
  })

  it('exposes metrics as text and as JSON, and no path, key or user among them', async () => {
    const { url } = await startGateway()
    await post(`${url}/inference`, { prompt: 'Hello', user_id: 'somebody' })
    await post(`${url}/inference`, { prompt: 'Hello', user_id: 'somebody' })
    await Promise.all(Array.from({ length: 100 }, (_, index) => fetch(`${url}/nowhere/${index}`)))
    await fetch(`${url}/v1/users/me`)
    await expect
      .poll(async () => (await fetch(`${url}/metrics`)).text())
      .toMatch(/http_server_request_duration_seconds_count\{[^}]*http_route="\/inference"[^}]*\} 2/)
    const text = await (await fetch(`${url}/metrics`)).text()
    expect(text).toContain('gpt-4o-mini')
    expect(text).not.toMatch(/nowhere|somebody|operator|a-key-for/)
    expect(text).toMatch(/cache[a-z_]*\{[^}]*"hit"[^}]*\} 1/)
    const open = await fetch(`${url}/metrics`, { headers: { accept: 'application/openmetrics-text' } })
    expect(open.headers.get('content-type')).toContain('application/openmetrics-text')
    expect((await open.text()).trimEnd().endsWith('# EOF')).toBe(true)
    const summary = await fetch(`${url}/metrics`, { headers: { accept: 'application/json' } })
    expect(summary.headers.get('content-type')).toContain('application/json')
    expect(await summary.json()).toBeTypeOf('object')
  })

  it('serves the development model only while there is nothing better', async () => {
    const { url } = await startGateway()
    const answer = await post(`${url}/v1/chat/completions`, {
      model: 'echo',
      messages: [{ role: 'user', content: 'Hi' }],
    })
    // The upstream was asked, and has been sent the name as it is.
    expect(await answer.json()).not.toMatchObject({ choices: [{ message: { content: 'Hi' } }] })
  })

  it('answers at its paths and not below them', async () => {
    const { url } = await startGate()
    expect((await post(`${url}/v1/predict/anything`, { text: 'hello' })).status).toBe(404)
    expect((await post(`${url}/v1/chat/completions/anything`, {})).status).toBe(404)
    expect((await post(`${url}/inference/anything`, { prompt: 'hello' })).status).toBe(404)
  })

  it('can keep its metrics to callers with a key', async () => {
    const { url } = await startGate({ METRICS_PUBLIC: 'false' })
    expect((await fetch(`${url}/metrics`)).status).toBe(401)
    expect((await fetch(`${url}/metrics`, { headers: { 'x-api-key': apiKey } })).status).toBe(200)
  })

  it('refuses to call a model whose price nobody knows, unless told to', async () => {
    const strict = await startGateway({ UNKNOWN_PRICE: 'reject' })
    const refused = await post(`${strict.url}/inference`, { prompt: 'Hello', model: 'brand-new' })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ code: 'price_unknown' })
    expect(strict.upstream.calls).toHaveLength(0)
    const lenient = await startGateway({ UNKNOWN_PRICE: 'allow' })
    const allowed = await post(`${lenient.url}/inference`, { prompt: 'Hello', model: 'brand-new' })
    expect(await allowed.json()).toMatchObject({ estimated_cost_usd: null })
  })

  it('logs a line a request, without credentials and without what was said', async () => {
    const { url, line, lines } = await startGateway()
    const answer = await post(`${url}/inference?api_key=secret-in-query`, { prompt: 'a private matter', user_id: 'u9' })
    expect(await line(answer.headers.get('x-request-id') ?? '')).toMatchObject({
      method: 'POST',
      path: '/inference',
      status: 200,
      tenant: 'default',
      user: 'key:operator',
      end_user: 'u9',
      model: 'gpt-4o-mini',
      cache: 'miss',
      aborted: false,
    })
    expect(JSON.stringify(lines)).not.toMatch(/secret-in-query|private matter|a-key-for|this is the upstream/)
  })

  it('lets browsers of named origins in, and reads its headers to them', async () => {
    const { url } = await startGate({ CORS_ORIGINS: 'https://app.example.com' })
    const asked = await fetch(`${url}/v1/predict`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.example.com',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,idempotency-key',
      },
    })
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe('https://app.example.com')
    expect(asked.headers.get('access-control-allow-headers')).toContain('idempotency-key')
    const other = await fetch(`${url}/health`, { headers: { origin: 'https://evil.example.com' } })
    expect(other.headers.get('access-control-allow-origin')).not.toBe('https://evil.example.com')
  })

  it('compresses JSON, and leaves streams alone', async () => {
    const { url, upstream } = await startGateway()
    upstream.script('gpt-4o-mini', { text: 'word '.repeat(2000), stallAfter: 3 })
    const headers = { authorization: `Bearer ${apiKey}`, 'accept-encoding': 'gzip' }
    const metrics = await fetch(`${url}/metrics`, { headers })
    expect(metrics.headers.get('content-encoding')).toBe('gzip')
    const body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }], stream: true }
    const streamed = await post(`${url}/v1/chat/completions`, body, headers)
    expect(streamed.headers.get('content-encoding')).toBeNull()
    // The upstream has stalled by now: what has come must be here already.
    const reader = (streamed.body as ReadableStream<Uint8Array>).getReader()
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toContain('data: {')
    await reader.cancel()
  })
})
