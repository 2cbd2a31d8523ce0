import { type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { SignJWT } from 'jose'
import { describe, expect, it } from 'vitest'
import { openAiUpstream } from '../../../packages/core/test/openai-upstream.js'
import { apiKey, jwtSecret, post, startGate, startGateway } from './running-gate.js'

interface Problem {
  status: number
  code: string
  detail: string
  request_id: string
  errors?: Array<{ path: string; message: string }>
}

/** The problem of an answer, checked to be one; and the server answers the next request. */
async function problemOf(url: string, answer: Response): Promise<Problem> {
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  const problem = (await answer.json()) as Problem
  expect(problem.status).toBe(answer.status)
  expect(problem.request_id).toBe(answer.headers.get('x-request-id'))
  expect(problem).toMatchObject({ type: expect.any(String), title: expect.any(String), timestamp: expect.any(String) })
  const well = await post(`${url}/v1/predict`, { features: [5.1, 3.5, 1.4, 0.2] })
  expect(well.status).toBe(200)
  return problem
}

describe('bad input is told, and the server stays well', () => {
  it.each([
    ['broken JSON', '/v1/predict', '{"text": ', 400, 'invalid_json', undefined],
    ['NaN', '/v1/predict', '{"features": [NaN, 1, 2, 3]}', 400, 'invalid_json', undefined],
    [
      'Infinity, as a number too large for one',
      '/v1/predict',
      '{"features": [1e999, 1, 2, 3]}',
      400,
      'invalid_request',
      'features[0]',
    ],
    ['a wrong type', '/v1/predict', '{"text": 5}', 400, 'invalid_request', 'text'],
    ['a string among features', '/v1/predict', '{"features": [1, "2", 3, 4]}', 400, 'invalid_request', 'features[1]'],
    ['too few features', '/v1/predict', '{"features": [1]}', 400, 'invalid_request', 'features'],
    ['an empty text', '/v1/predict', '{"text": ""}', 400, 'invalid_request', 'text'],
    ['neither text nor features', '/v1/predict', '{}', 400, 'invalid_request', 'body'],
    ['a field that does not exist', '/v1/predict', '{"txt": "a"}', 400, 'invalid_request', 'txt'],
    [
      'a wrong row of a batch',
      '/v1/predict/batch',
      '{"instances": [[1,2,3,4],[1,2,3]]}',
      400,
      'invalid_request',
      'instances[1]',
    ],
    ['an empty batch', '/v1/predict/batch', '{"instances": []}', 400, 'invalid_request', 'instances'],
    ['a batch of no rows', '/v1/predict/batch', '{"inputs": [7]}', 400, 'invalid_request', 'inputs[0]'],
    ['no prompt', '/inference', '{}', 400, 'invalid_request', 'prompt'],
    ['a temperature of 3', '/inference', '{"prompt": "a", "temperature": 3}', 400, 'invalid_request', 'temperature'],
    ['null', '/inference', 'null', 400, 'invalid_request', 'body'],
    ['an unknown model', '/v1/predict', '{"text": "a", "model": "nope"}', 404, 'model_not_found', undefined],
    ['an unknown version', '/v1/predict', '{"text": "a", "model_version": "9.9.9"}', 404, 'model_not_found', undefined],
    ['a path that does not exist', '/v1/nothing', '{}', 404, 'not_found', undefined],
  ])('%s', async (_name, path, body, status, code, field) => {
    const { url } = await startGate()
    const problem = await problemOf(url, await post(url + path, body))
    expect(problem).toMatchObject({ status, code })
    if (field !== undefined) expect(problem.errors?.map(({ path }) => path)).toContain(field)
    if (code === 'model_not_found') expect(problem.detail).toContain('language-id')
  })

  it.each([
    ['http://other.example/v1/models?x=1', 200],
    ['http://keys/v1/keys', 200],
    ['http://x:99999999/v1/keys?limit=1', 200],
    ['http://[/v1/keys', 200],
    ['http://[', 404],
    ['*', 404],
  ])('a target that is no path: %s', async (target, status) => {
    const { url, lines } = await startGate()
    const { hostname, port } = new URL(url)
    const headers = { authorization: `Bearer ${apiKey}`, host: 'x' }
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ hostname, port, path: target, headers }, resolve).on('error', reject).end()
    })
    expect(answer.statusCode).toBe(status)
    expect(answer.headers['content-type']).toMatch(/^application\/(?:problem\+)?json/)
    const body = (await json(answer)) as { data?: unknown[] }
    if (status === 200) expect(body.data).toBeInstanceOf(Array)
    await expect.poll(() => lines.filter(({ msg }) => msg === 'request')).toHaveLength(1)
  })

  it('a body of 10 MB', async () => {
    const { url } = await startGate()
    const answer = await post(`${url}/v1/predict`, JSON.stringify({ text: 'x'.repeat(10_000_000) }))
    expect(await problemOf(url, answer)).toMatchObject({ status: 413, code: 'payload_too_large' })
  })

  it('a chunked body of 10 MB', async () => {
    const { url } = await startGate()
    let left = 160
    const body = new ReadableStream({
      pull(controller) {
        left -= 1
        if (left < 0) controller.close()
        else controller.enqueue(new TextEncoder().encode('x'.repeat(65_536)))
      },
    })
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
    const answer = await fetch(`${url}/v1/predict`, { method: 'POST', headers, body, duplex: 'half' } as RequestInit)
    expect(await problemOf(url, answer)).toMatchObject({ status: 413, code: 'payload_too_large' })
  })

  it('a wrong content type, and a wrong method', async () => {
    const { url } = await startGate()
    const typed = await post(`${url}/v1/predict`, 'text=a', { 'content-type': 'application/x-www-form-urlencoded' })
    expect(await problemOf(url, typed)).toMatchObject({ status: 415, code: 'unsupported_media_type' })
    const got = await fetch(`${url}/v1/predict`, { headers: { authorization: `Bearer ${apiKey}` } })
    expect(got.headers.get('allow')).toContain('POST')
    expect(await problemOf(url, got)).toMatchObject({ status: 405, code: 'method_not_allowed' })
  })

  it('no key, a garbled key, two credentials', async () => {
    const { url } = await startGate()
    const ask = (headers: Record<string, string>) => fetch(`${url}/v1/users/me`, { headers })
    const none = await ask({})
    expect(none.headers.get('www-authenticate')).toBe('Bearer realm="api"')
    expect(await problemOf(url, none)).toMatchObject({ status: 401, code: 'unauthenticated' })
    const garbled = await ask({ authorization: `Bearer ${apiKey.slice(1)}` })
    expect(garbled.headers.get('www-authenticate')).toContain('error="invalid_token"')
    expect(await problemOf(url, garbled)).toMatchObject({ status: 401, code: 'invalid_credentials' })
    const two = await ask({ authorization: `Bearer ${apiKey}`, 'x-api-key': apiKey })
    expect(await problemOf(url, two)).toMatchObject({ status: 400, code: 'malformed_credentials' })
  })

  it('an expired token, and one of another issuer', async () => {
    const { url } = await startGate()
    const token = (issuer: string, expires: string) =>
      new SignJWT({ tenant: 't', scope: 'predict' })
        .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
        .setIssuer(issuer)
        .setAudience('tollgate')
        .setSubject('ada')
        .setIssuedAt()
        .setExpirationTime(expires)
        .sign(Buffer.from(jwtSecret))
    const ask = async (jwt: string) => fetch(`${url}/v1/users/me`, { headers: { authorization: `Bearer ${jwt}` } })
    expect(await (await ask(await token('tollgate', '1h'))).json()).toMatchObject({ subject: 'ada', tenant: 't' })
    for (const wrong of [await token('tollgate', '-1h'), await token('somebody', '1h')]) {
      expect(await problemOf(url, await ask(wrong))).toMatchObject({ status: 401, code: 'invalid_credentials' })
    }
  })
})

describe('an upstream that fails is told, and the server stays well', () => {
  const prompt = { prompt: 'Hello' }

  it.each([
    ['500', { answer: { status: 500, body: { error: { message: 'secret inside' } } } }, 502, 'upstream_failed'],
    [
      'garbage',
      { answer: { status: 200, headers: { 'content-type': 'application/json' }, body: '<<<' } },
      502,
      'upstream_invalid',
    ],
    [
      'HTML',
      { answer: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' } },
      502,
      'upstream_invalid',
    ],
    [
      'a refusal of our key',
      { answer: { status: 401, body: { error: { message: 'bad key' } } } },
      502,
      'upstream_credentials',
    ],
    ['a reset', { resetAfter: -1 }, 502, 'upstream_failed'],
    ['throttling', { answer: { status: 429, headers: { 'retry-after': '7' }, body: {} } }, 429, 'rate_limited'],
  ] as const)('%s', async (_name, script, status, code) => {
    const { url, upstream } = await startGateway()
    upstream.script('gpt-4o-mini', script)
    const answer = await post(`${url}/inference`, prompt)
    const problem = await problemOf(url, answer)
    expect(problem).toMatchObject({ status, code })
    expect(JSON.stringify(problem)).not.toMatch(/secret|sk-/)
    if (status === 429) expect(answer.headers.get('retry-after')).toBe('7')
  })

  it('an answer that breaks off half way is billed for its prompt', async () => {
    const { url, upstream, line } = await startGateway()
    upstream.script('gpt-4o-mini', { resetAfter: 0 })
    const answer = await post(`${url}/inference`, prompt)
    expect(answer.status).toBe(502)
    const logged = await line(answer.headers.get('x-request-id') ?? '')
    expect(logged).toMatchObject({ usage_estimated: true, completion_tokens: 0 })
    expect(logged['prompt_tokens']).toBeGreaterThan(0)
    expect(logged['cost_usd']).toBeGreaterThan(0)
  })

  it('nobody there', async () => {
    const gone = await openAiUpstream()
    await gone.close()
    const { url } = await startGate({ OPENAI_BASE_URL: gone.baseUrl, MODEL_NAME: 'm' })
    const problem = await problemOf(url, await post(`${url}/inference`, prompt))
    expect(problem).toMatchObject({ status: 502, code: 'upstream_failed' })
  })

  it('silence, until the deadline', async () => {
    const { url, upstream } = await startGateway({ REQUEST_TIMEOUT_SECONDS: '1' })
    upstream.script('gpt-4o-mini', { stallAfter: -1 })
    const sent = upstream.next()
    const problem = await problemOf(url, await post(`${url}/inference`, prompt))
    expect(problem).toMatchObject({ status: 504, code: 'timeout' })
    expect(await (await sent).broken).toBe(true)
  })

  it('a caller who leaves mid-stream: the upstream socket closes, and what was delivered is billed', async () => {
    const { url, upstream, line } = await startGateway()
    upstream.script('gpt-4o-mini', { stallAfter: 4 })
    const sent = upstream.next()
    const leaving = new AbortController()
    const body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hello' }], stream: true }
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: leaving.signal,
    })
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    leaving.abort()
    const left = performance.now()
    expect(await (await sent).broken).toBe(true)
    expect(performance.now() - left).toBeLessThan(1000)
    const logged = await line(answer.headers.get('x-request-id') ?? '')
    expect(logged).toMatchObject({ aborted: true, usage_estimated: true })
    expect(logged['cost_usd']).toBeGreaterThan(0)
  })
})
