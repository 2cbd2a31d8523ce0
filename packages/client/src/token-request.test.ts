import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve } from '../test/fixture-server.js'
import { type ClientOptions, createClient } from './index.js'

const clientSecret = 'tg_live_s3cret: +%&=ü'
const credentials = { clientId: 'key:1 ä', clientSecret, scope: 'chat embed' }
const prompt = { prompt: 'hi' }
const token = (access_token: string, extra: object = {}) =>
  json({ access_token, token_type: 'Bearer', expires_in: 3600, ...extra })
const refusal = (error: string, status = 400) => json({ error, error_description: `It was ${error}.` }, status)
const reset: Answer = (_, __, req) => req.socket.destroy()

/** A server that takes one token at a time, `good()`, and answers logins one by one. */
async function gate(logins: readonly [Answer, ...Answer[]], good: () => string) {
  let login = 0
  const server = await serve((res, request, req) => {
    if (request.path === '/v1/token') return logins[Math.min(login++, logins.length - 1)]?.(res, request, req)
    const isGood = request.headers.authorization === `Bearer ${good()}`
    return (isGood ? json({ response: good() }) : problem(401, 'invalid_credentials'))(res, request, req)
  })
  return {
    ...server,
    logins: () => server.requests.filter(({ path }) => path === '/v1/token'),
    forms: () =>
      server.requests
        .filter(({ path }) => path === '/v1/token')
        .map(({ body }) => Object.fromEntries(new URLSearchParams(body))),
    client: (options: Partial<ClientOptions> = {}) =>
      createClient({ baseUrl: server.url, credentials, backoffBaseMs: 1, ...options }),
  }
}

describe('client credentials', () => {
  it('are sent by Basic, each encoded as in a form, and nowhere else', async () => {
    const { client, logins, forms, requests } = await gate([token('t1')], () => 't1')
    expect(await client().inference(prompt)).toMatchObject({ response: 't1' })
    expect(forms()).toEqual([{ grant_type: 'client_credentials', scope: 'chat embed' }])
    const [scheme, encoded = ''] = logins()[0]?.headers.authorization?.split(' ') ?? []
    expect(scheme).toBe('Basic')
    expect(atob(encoded)).toBe('key%3A1+%C3%A4:tg_live_s3cret%3A+%2B%25%26%3D%C3%BC')
    const decoded = atob(encoded)
      .split(':')
      .map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
    expect(decoded).toEqual([credentials.clientId, clientSecret])
    expect(logins()[0]?.headers).not.toHaveProperty('idempotency-key')
    expect(requests[1]?.headers.authorization).toBe('Bearer t1')
  })

  it('get one new token for 20 calls at once whose token is refused', async () => {
    let good = 't1'
    const { client, logins } = await gate([token('t1'), token('t2'), token('t3')], () => good)
    const one = client({ maxAttempts: 1 })
    await one.inference(prompt)
    good = 't2'
    const answers = await Promise.all(Array.from({ length: 20 }, () => one.inference(prompt)))
    expect(answers.map(({ response }) => response)).toEqual(Array(20).fill('t2'))
    expect(logins()).toHaveLength(2)
  })

  it('get none for stragglers whose refused token is older than the one that is held', async () => {
    const release = Promise.withResolvers<void>()
    let login = 0
    let old = 0
    const { url } = await serve(async (res, request, req) => {
      if (request.path === '/v1/token') return token(`t${++login}`)(res, request, req)
      const isOld = request.headers.authorization === 'Bearer t1'
      if (isOld && ++old <= 5) await release.promise
      return (isOld ? problem(401, 'invalid_credentials') : json({ response: 'ok' }))(res, request, req)
    })
    const client = createClient({ baseUrl: url, credentials })
    const stragglers = Array.from({ length: 5 }, () => client.inference(prompt))
    await expect.poll(() => old).toBe(5)
    await client.inference(prompt)
    expect(login).toBe(2)
    release.resolve()
    await Promise.all(stragglers)
    expect(login).toBe(2)
  })

  it('that are wrong are an ApiError after one request, and tell nobody the secret', async () => {
    const { client, logins, requests } = await gate([refusal('invalid_client', 401)], () => 't1')
    const notices: unknown[] = []
    const one = client({ onRetry: (notice) => notices.push(notice) })
    const error = await failure(one.inference(prompt))
    expect(error).toMatchObject({ name: 'ApiError', kind: 'api', status: 401, code: 'invalid_client' })
    expect([logins().length, requests.length]).toEqual([1, 1])
    const basic = logins()[0]?.headers.authorization?.slice('Basic '.length) ?? ''
    const shown = inspect([error, one, notices], { depth: 20, showHidden: true }) + JSON.stringify(error)
    for (const secret of [clientSecret, 's3cret', basic]) expect(shown).not.toContain(secret)
  })

  it('are in no error and no notice when the connection is lost, again and again', async () => {
    const { client, logins } = await gate([reset], () => 't1')
    const notices: unknown[] = []
    const one = client({ onRetry: (notice) => notices.push(notice) })
    const error = await failure(one.inference(prompt))
    expect(error).toMatchObject({ kind: 'connection' })
    expect([logins().length, notices.length]).toEqual([3, 2])
    const basic = logins()[0]?.headers.authorization?.slice('Basic '.length) ?? 'none'
    const shown = inspect([error, notices, one], { depth: 20, showHidden: true }) + JSON.stringify([error, notices])
    for (const secret of [clientSecret, 's3cret', basic]) expect(shown).not.toContain(secret)
  })

  it('do without a refresh token', async () => {
    let now = 0
    const { client, forms } = await gate([token('t1', { refresh_token: 'r1' })], () => 't1')
    const one = client({ now: () => now })
    await one.inference(prompt)
    now = 3_600_001
    await one.inference(prompt)
    expect(forms().map(({ grant_type }) => grant_type)).toEqual(['client_credentials', 'client_credentials'])
  })

  it('get the next token in the background, before the one that is held ends', async () => {
    let now = 0
    let good = 't1'
    const { client, logins } = await gate([token('t1'), token('t2')], () => good)
    const one = client({ now: () => now })
    await one.inference(prompt)
    now = 3_540_001
    expect(await one.inference(prompt), 'nobody waits for it').toMatchObject({ response: 't1' })
    await expect.poll(() => logins().length).toBe(2)
    good = 't2'
    await expect.poll(async () => (await one.inference(prompt)).response).toBe('t2')
    expect(logins()).toHaveLength(2)
  })
})

describe('a login with a refresh token', () => {
  const user = { username: 'ada', password: 'p4ssword', scope: 'chat' }
  const byPassword = { grant_type: 'password', ...user }
  const byRefresh = (refresh_token: string) => ({ grant_type: 'refresh_token', refresh_token })

  /** Makes one call per token, each after the one before has ended. */
  async function lives(logins: readonly [Answer, ...Answer[]], goods: readonly string[]) {
    let now = 0
    let good = ''
    const server = await gate(logins, () => good)
    const client = server.client({ credentials: user, now: () => now })
    const results: unknown[] = []
    for (const next of goods) {
      good = next
      results.push(await client.inference(prompt).catch((error: unknown) => error))
      now += 3_600_001
    }
    return { forms: server.forms(), results }
  }

  it('uses each once, then its successor', async () => {
    const logins = [1, 2, 3].map((n) => token(`t${n}`, { refresh_token: `r${n}` })) as [Answer, ...Answer[]]
    const { forms, results } = await lives(logins, ['t1', 't2', 't3'])
    expect(forms).toEqual([byPassword, byRefresh('r1'), byRefresh('r2')])
    expect(results).toEqual([{ response: 't1' }, { response: 't2' }, { response: 't3' }])
  })

  it('keeps the old where the server gives no new one', async () => {
    const { forms } = await lives([token('t1', { refresh_token: 'r1' }), token('t2'), token('t3')], ['t1', 't2', 't3'])
    expect(forms).toEqual([byPassword, byRefresh('r1'), byRefresh('r1')])
  })

  it.each<[string, Answer]>([
    ['is refused', refusal('invalid_grant')],
    ['may have been used up: the answer was lost', reset],
    ['may have been used up: the server broke', problem(500, 'internal')],
  ])('logs in again, once, when it %s', async (_, answer) => {
    const { forms, results } = await lives([token('t1', { refresh_token: 'r1' }), answer, token('t2')], ['t1', 't2'])
    expect(forms).toEqual([byPassword, byRefresh('r1'), byPassword])
    expect(results[1]).toEqual({ response: 't2' })
  })

  it('ends with the error of the password, when that is refused too', async () => {
    const refused = refusal('invalid_grant')
    const { forms, results } = await lives([token('t1', { refresh_token: 'r1' }), refused, refused], ['t1', 't2'])
    expect(forms).toEqual([byPassword, byRefresh('r1'), byPassword])
    expect(results[1]).toMatchObject({ kind: 'api', code: 'invalid_grant' })
    const shown = inspect(results[1], { depth: 20, showHidden: true })
    for (const secret of ['p4ssword', 'r1']) expect(shown).not.toContain(secret)
  })

  it('sends it again when the server only put it off', async () => {
    const later = problem(503, 'overloaded', {}, { 'retry-after-ms': '1' })
    const logins: [Answer, ...Answer[]] = [
      token('t1', { refresh_token: 'r1' }),
      later,
      token('t2', { refresh_token: 'r2' }),
    ]
    const { forms } = await lives(logins, ['t1', 't2'])
    expect(forms).toEqual([byPassword, byRefresh('r1'), byRefresh('r1')])
  })
})
