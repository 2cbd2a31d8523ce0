import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve, silence } from '../test/fixture-server.js'
import { type ClientOptions, createClient } from './index.js'
import { createTokenSession } from './token-session.js'

const credentials = { username: 'ada', password: 'p&ss word', scope: 'inference' }
const prompt = { prompt: 'hi' }
const token = (access_token: string, expires_in = 3600) =>
  json({ access_token, token_type: 'Bearer', expires_in, scope: 'inference' })

/** A server that knows one good token at a time. */
async function gate(logins: readonly [Answer, ...Answer[]], isGood: (token: string | undefined) => boolean) {
  let login = 0
  const server = await serve((res, request, req) => {
    if (request.path === '/v1/token') return logins[Math.min(login++, logins.length - 1)]?.(res, request, req)
    const sent = request.headers.authorization?.replace('Bearer ', '')
    const answer = isGood(sent) ? json({ response: sent }) : problem(401, 'invalid_credentials')
    return answer(res, request, req)
  })
  return {
    ...server,
    logins: () => server.requests.filter(({ path }) => path === '/v1/token'),
    calls: () => server.requests.filter(({ path }) => path !== '/v1/token'),
    client: (options: Partial<ClientOptions> = {}) =>
      createClient({ baseUrl: server.url, credentials, backoffBaseMs: 1, ...options }),
  }
}

describe('a client with credentials', () => {
  it('logs in once for many calls at once, by form, and keeps the token', async () => {
    const { client, logins } = await gate([token('t1')], (sent) => sent === 't1')
    const one = client()
    const answers = await Promise.all(Array.from({ length: 20 }, () => one.inference(prompt)))
    expect(answers.every(({ response }) => response === 't1')).toBe(true)
    await one.inference(prompt)
    expect(logins()).toHaveLength(1)
    expect(logins()[0]?.headers).toMatchObject({ 'content-type': 'application/x-www-form-urlencoded' })
    expect(logins()[0]?.headers).not.toHaveProperty('authorization')
    expect(logins()[0]?.headers).not.toHaveProperty('idempotency-key')
    expect(Object.fromEntries(new URLSearchParams(logins()[0]?.body))).toEqual({
      grant_type: 'password',
      ...credentials,
    })
  })

  it('logs in again once when 20 calls at once find the token refused, and repeats each', async () => {
    let good = 't1'
    const { client, logins, calls } = await gate([token('t1'), token('t2')], (sent) => sent === good)
    const one = client({ maxAttempts: 1 })
    await one.inference(prompt)
    good = 't2'
    const answers = await Promise.all(Array.from({ length: 20 }, () => one.inference(prompt)))
    expect(answers.every(({ response }) => response === 't2')).toBe(true)
    expect(logins()).toHaveLength(2)
    expect(calls()).toHaveLength(41)
    const keys = calls().map(({ headers }) => headers['idempotency-key'])
    expect(new Set(keys).size).toBe(21)
  })

  it('does not log in again for a straggler whose old token is refused late', async () => {
    const release = Promise.withResolvers<void>()
    let login = 0
    let first = true
    const { url, requests } = await serve(async (res, request, req) => {
      if (request.path === '/v1/token') return token(`t${++login}`)(res, request, req)
      const isOld = request.headers.authorization === 'Bearer t1'
      if (isOld && first) {
        first = false
        await release.promise
      }
      return (isOld ? problem(401, 'invalid_credentials') : json({ response: 'ok' }))(res, request, req)
    })
    const client = createClient({ baseUrl: url, credentials })
    const straggler = client.inference(prompt)
    await expect.poll(() => requests.length).toBe(2)
    await client.inference(prompt)
    release.resolve()
    await straggler
    expect(login).toBe(2)
  })

  it('throws the second refusal', async () => {
    const { client, logins, calls } = await gate([token('t1'), token('t2')], () => false)
    const error = await failure(client().inference(prompt))
    expect(error).toMatchObject({ kind: 'api', status: 401, code: 'invalid_credentials' })
    expect([logins().length, calls().length]).toEqual([2, 2])
  })

  it('tells everybody of a failed login, once, and tries again at the next call', async () => {
    const refusal = json({ error: 'invalid_grant', error_description: 'Unknown user or wrong password.' }, 400)
    const { client, logins, calls } = await gate([refusal, token('t1')], () => true)
    const one = client()
    const errors = await Promise.all(Array.from({ length: 5 }, () => failure(one.inference(prompt))))
    for (const error of errors) {
      expect(error).toMatchObject({ kind: 'api', code: 'invalid_grant', message: 'Unknown user or wrong password.' })
      expect(JSON.stringify(error)).not.toContain('p&ss')
    }
    expect([logins().length, calls().length]).toEqual([1, 0])
    expect(await one.inference(prompt)).toMatchObject({ response: 't1' })
  })

  it('repeats a login that the server puts off', async () => {
    const { client, logins } = await gate([problem(503, 'overloaded'), token('t1')], () => true)
    await client().inference(prompt)
    expect(logins()).toHaveLength(2)
  })

  it.each<[string, Answer]>([
    ['no token', json({ ok: true })],
    ['no lifetime', json({ access_token: 'a', token_type: 'Bearer' })],
    ['another kind of token', json({ access_token: 'a', token_type: 'mac', expires_in: 5 })],
    ['a redirect', (res) => res.writeHead(307, { location: 'http://127.0.0.1:9/' }).end()],
  ])('refuses a login answered with %s', async (_, answer) => {
    const { client } = await gate([answer], () => true)
    expect(await failure(client().inference(prompt))).toMatchObject({ kind: 'response' })
  })

  it('lets one caller leave while the others go on waiting for the login', async () => {
    const { answer, arrived } = silence()
    const { promise, resolve } = Promise.withResolvers<void>()
    const late: Answer = async (res, request, req) => {
      answer(res, request, req)
      await promise
      token('t1')(res, request, req)
    }
    const { client } = await gate([late], () => true)
    const one = client()
    const controller = new AbortController()
    const leaving = failure(one.inference(prompt, { signal: controller.signal }))
    const staying = one.inference(prompt)
    await arrived
    controller.abort()
    expect(await leaving).toMatchObject({ kind: 'abort' })
    resolve()
    expect(await staying).toMatchObject({ response: 't1' })
  })

  it('sends no credential to /health and does not log in for it', async () => {
    const { url, requests } = await serve(json({ status: 'ok', version: '1', models: [] }))
    await createClient({ baseUrl: url, credentials }).health()
    await createClient({ baseUrl: url, apiKey: 'k' }).health()
    expect(requests.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ['/health', undefined],
      ['/health', undefined],
    ])
  })
})

describe('the life of a token', () => {
  it('is renewed in the background near its end, and at once after it; a failed renewal costs nothing yet', async () => {
    let now = 0
    let outcome: () => Promise<string> = async () => 't1'
    let logins = 0
    const session = createTokenSession(
      async () => {
        logins += 1
        return { access_token: await outcome(), token_type: 'Bearer', expires_in: 1000, scope: '' }
      },
      () => now,
    )
    expect(await session.token()).toBe('t1')
    now = 939_999
    expect([await session.token(), logins]).toEqual(['t1', 1])

    outcome = () => Promise.reject(new Error('down'))
    now = 940_000
    expect(await session.token()).toBe('t1')
    await expect.poll(() => logins).toBe(2)
    expect([await session.token(), logins], 'not tried again at once').toEqual(['t1', 2])

    outcome = async () => 't2'
    now = 945_001
    expect(await session.token()).toBe('t1')
    await expect.poll(() => session.token()).toBe('t2')
    expect(logins).toBe(3)

    outcome = async () => 't3'
    now = 945_001 + 1_000_000
    expect([await session.token(), logins]).toEqual(['t3', 4])
  })
})
