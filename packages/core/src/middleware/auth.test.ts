import { createHash } from 'node:crypto'
import { createConnection } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, type Host, hosts, listen } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import type { ApiKeyRecord, Directory } from '../stores/directory.js'
import { memoryDirectory } from '../stores/memory-directory.js'
import { type AuthOptions, auth } from './auth.js'
import { errorHandler } from './error-handler.js'

const key = 'an-operators-own-key-0123456789abcdef'
const quiet = { log: { error() {}, warn() {} } }
const digestOf = (text: string) => createHash('sha256').update(text).digest('hex')

const directory = memoryDirectory({
  apiKeys: [
    { key, id: 'k1', tenant: 'acme', subject: 'website', tier: 'pro', scopes: ['chat'] },
    { key: 'disabled', tenant: 'acme', subject: 'website', disabled: true },
    { key: 'expired', tenant: 'acme', subject: 'website', expiresAt: 1000 },
    { key: 'two.dots.here', tenant: 'acme', subject: 'dotted' },
  ],
})

const whoAmI = endpoint('whoAmI', (context, _req, res) => sendJson(res, 200, { principal: context.principal ?? null }))
const plain = hosts[3] as Host

async function ask(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers })
  const text = await response.text()
  const body = response.headers.get('content-type')?.includes('json') === true ? JSON.parse(text) : text
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    headers: response.headers,
    body,
  }
}

const start = async (options: AuthOptions, ...more: Handler[]) =>
  (await plain.start(auth(options), ...more, whoAmI, errorHandler(quiet))).url

eachHost((host) => {
  it('admits a key by x-api-key and by Authorization: Bearer, and says who holds it', async () => {
    const { url } = await host.start(auth({ directory }), whoAmI)
    const principal = {
      tenant: 'acme',
      subject: 'website',
      method: 'api-key',
      keyId: 'k1',
      tier: 'pro',
      scopes: ['chat'],
    }
    expect((await ask(url, { 'x-api-key': key })).body).toEqual({ principal })
    expect((await ask(url, { authorization: `Bearer ${key}` })).body).toEqual({ principal })
  })

  it('refuses with status and challenge, without an error handler of ours', async () => {
    const { url } = await host.start(auth({ directory }), whoAmI)
    expect(await ask(url)).toMatchObject({ status: 401, challenge: 'Bearer realm="api"' })
    expect(await ask(url, { 'x-api-key': 'wrong' })).toMatchObject({
      status: 401,
      challenge: 'Bearer realm="api", error="invalid_token", error_description="The credentials are not valid."',
    })
    expect(await ask(url, { authorization: 'Bearer' })).toMatchObject({
      status: 400,
      challenge: expect.stringContaining('Bearer realm="api", error="invalid_request", error_description="'),
    })
  })
})

describe('credentials', () => {
  it.each([
    ['none', {}],
    ['another scheme', { authorization: 'Basic dXNlcjpwYXNz' }],
    ['another scheme without credentials', { authorization: 'Negotiate' }],
    ['a bare key, without a scheme', { authorization: key }],
    ['a scheme that begins like ours', { authorization: `Bearers ${key}` }],
  ])('takes %s for no credentials: 401 without an error code', async (_name, headers) => {
    const url = await start({ directory })
    const answer = await ask(url, headers)
    expect(answer).toMatchObject({ status: 401, challenge: 'Bearer realm="api"', body: { code: 'unauthenticated' } })
  })

  it.each(['Bearer', 'bearer', 'BEARER'])('takes the scheme in any case: %s', async (scheme) => {
    const url = await start({ directory })
    expect((await ask(url, { authorization: `${scheme} ${key}` })).status).toBe(200)
    expect((await ask(url, { authorization: `${scheme}   ${key}` })).status).toBe(200)
    expect((await ask(url, { authorization: `${scheme}\t ${key}` })).status).toBe(200)
  })

  it.each([
    ['an empty bearer token', { authorization: 'Bearer' }],
    ['an empty Authorization', { authorization: '' }],
    ['an empty x-api-key', { 'x-api-key': '' }],
    ['two words', { authorization: 'Bearer one two' }],
    ['a list', { authorization: `Bearer ${key}, Bearer ${key}` }],
    ['letters beyond ASCII', { authorization: 'Bearer caf\u00e9' }],
    ['a space in the key', { 'x-api-key': 'one two' }],
    ['both headers', { authorization: `Bearer ${key}`, 'x-api-key': key }],
    ['both headers, one of them empty', { authorization: `Bearer ${key}`, 'x-api-key': '' }],
    ['both headers, one of another scheme', { authorization: 'Basic eDp5', 'x-api-key': key }],
  ])('takes %s for malformed: 400 invalid_request', async (_name, headers) => {
    const url = await start({ directory })
    const answer = await ask(url, headers)
    expect(answer).toMatchObject({ status: 400, body: { code: 'malformed_credentials' } })
    expect(answer.challenge).toMatch(/^Bearer realm="api", error="invalid_request", error_description="[^"\\]+"$/)
  })

  it.each([
    ['Authorization twice', `Authorization: Bearer ${key}\r\nauthorization: Bearer other\r\n`],
    ['x-api-key twice', `X-Api-Key: ${key}\r\nX-API-KEY: ${key}\r\n`],
  ])('refuses %s, whichever of them is good', async (_name, lines) => {
    const url = new URL(await start({ directory }))
    expect(await raw(Number(url.port), lines)).toMatch(/^HTTP\/1.1 400 /)
  })

  it('never looks into the URL or the body', async () => {
    const url = await start({ directory })
    const query = `?api_key=${key}&access_token=${key}&x-api-key=${key}`
    expect((await ask(`${url}/${query}`)).status).toBe(401)
    const init = {
      method: 'POST',
      body: JSON.stringify({ access_token: key }),
      headers: { 'content-type': 'application/json' },
    }
    expect((await fetch(url, init)).status).toBe(401)
  })

  it('answers an unknown, a disabled and an expired key with the same bytes', async () => {
    const url = await start({ directory })
    const answers = await Promise.all(
      ['unknown', 'disabled', 'expired'].map(async (each) => {
        const response = await fetch(url, { headers: { 'x-api-key': each, 'x-request-id': 'same' } })
        const headers = Object.fromEntries([...response.headers].filter(([name]) => name !== 'date'))
        const { timestamp: _timestamp, ...body } = (await response.json()) as Record<string, unknown>
        return JSON.stringify([response.status, headers, body])
      }),
    )
    expect(new Set(answers).size).toBe(1)
    expect(answers[0]).toContain('invalid_credentials')
  })

  it('lets nothing pass for a CORS preflight: cors comes first', async () => {
    const url = await start({ directory })
    const headers = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' }
    expect((await fetch(url, { method: 'OPTIONS', headers })).status).toBe(401)
  })

  it('says nothing of the Host header and takes the realm from the options alone', async () => {
    const url = await start({
      directory,
      realm: 'acme api',
      resourceMetadataUrl: 'https://acme.com/.well-known/oauth-protected-resource',
    })
    const metadata = 'resource_metadata="https://acme.com/.well-known/oauth-protected-resource"'
    expect((await ask(url, { 'x-forwarded-host': 'evil.example' })).challenge).toBe(
      `Bearer realm="acme api", ${metadata}`,
    )
    expect((await ask(url, { 'x-api-key': 'x' })).challenge).toContain(`error="invalid_token"`)
    expect((await ask(url, { 'x-api-key': 'x' })).challenge).toContain(metadata)
  })

  it('takes a key with two dots for a key when no jwt is configured', async () => {
    const url = await start({ directory })
    expect((await ask(url, { authorization: 'Bearer two.dots.here' })).status).toBe(200)
  })

  it('leaves the context without a principal when it refuses', async () => {
    const seen: unknown[] = []
    const { url } = await listen((req, res) =>
      auth({ directory })(req, res, () => {
        seen.push(contextOf(req, res).principal, contextOf(req, res).error)
        res.end()
      }),
    )
    await ask(url, { 'x-api-key': 'wrong' })
    expect(seen).toEqual([undefined, 'invalid_credentials'])
  })

  it('goes on synchronously with a directory in memory', async () => {
    const order: string[] = []
    const handler = auth({ directory })
    const { url } = await listen((req, res) => {
      handler(req, res, () => order.push('next'))
      order.push('returned')
      res.end()
    })
    await ask(url, { 'x-api-key': key })
    expect(order).toEqual(['next', 'returned'])
  })
})

describe('optional', () => {
  it('lets requests without credentials pass without a principal, and refuses wrong ones', async () => {
    const url = await start({ directory, optional: true })
    expect((await ask(url)).body).toEqual({ principal: null })
    expect((await ask(url, { 'x-api-key': key })).body).toMatchObject({ principal: { tenant: 'acme' } })
    expect((await ask(url, { 'x-api-key': 'wrong' })).status).toBe(401)
    expect((await ask(url, { authorization: 'Bearer' })).status).toBe(400)
  })
})

describe('a directory that is asynchronous', () => {
  const secrets = [{ digest: digestOf(key), hint: '', createdAt: 0 }]
  const record: ApiKeyRecord = { id: 'k1', tenant: 'acme', subject: 'website', scopes: [], secrets }

  function slowDirectory(find: (id: string) => Promise<ApiKeyRecord | undefined>) {
    const findApiKey = vi.fn(find)
    const digestsOf = (text: string) => [digestOf(text)]
    return { digestsOf, findApiKey, findUser: async () => undefined, close() {} } satisfies Directory
  }

  it('is asked once for many requests at once, and not again for ten seconds', async () => {
    let now = 0
    let answer: (found: ApiKeyRecord) => void = () => {}
    const slow = slowDirectory(() => new Promise((resolve) => (answer = resolve)))
    const entered = counter()
    const counting: Handler = (_req, _res, next) => {
      next()
      entered.add()
    }
    const { url } = await plain.start(counting, auth({ directory: slow, now: () => now }), whoAmI, errorHandler(quiet))
    const first = Array.from({ length: 5 }, () => ask(url, { 'x-api-key': key }))
    await entered.reached(5)
    answer(record)
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
    now = 5_000
    expect((await ask(url, { 'x-api-key': key })).status).toBe(200)
    expect(slow.findApiKey).toHaveBeenCalledTimes(1)
    now = 9_999
    // Renewed in the background; nobody waits for it as long as the answer is good.
    expect((await ask(url, { 'x-api-key': key })).status).toBe(200)
    expect(slow.findApiKey).toHaveBeenCalledTimes(2)
    now = 10_000
    const again = ask(url, { 'x-api-key': key })
    answer({ ...record, disabled: true })
    expect((await again).status).toBe(401)
  })

  it('is not asked again for a key that it did not know, nor may guesses push out keys that it knows', async () => {
    const slow = slowDirectory(async (id) => (id === `sha256:${digestOf(key)}` ? record : undefined))
    const url = await start({ directory: slow, cacheSize: 2, now: () => 0 })
    await ask(url, { 'x-api-key': key })
    for (const guess of ['a', 'b', 'c', 'd', 'd']) expect((await ask(url, { 'x-api-key': guess })).status).toBe(401)
    expect((await ask(url, { 'x-api-key': key })).status).toBe(200)
    expect(slow.findApiKey).toHaveBeenCalledTimes(5)
  })

  it('refuses a remembered key as soon as it expires', async () => {
    let now = 0
    const slow = slowDirectory(async () => ({ ...record, expiresAt: 5_000 }))
    const url = await start({ directory: slow, now: () => now })
    expect((await ask(url, { 'x-api-key': key })).status).toBe(200)
    now = 5_000
    expect((await ask(url, { 'x-api-key': key })).status).toBe(401)
    expect(slow.findApiKey).toHaveBeenCalledTimes(1)
  })

  it('is asked every time with maxStaleMs: 0', async () => {
    const slow = slowDirectory(async () => record)
    const url = await start({ directory: slow, maxStaleMs: 0 })
    await ask(url, { 'x-api-key': key })
    await ask(url, { 'x-api-key': key })
    expect(slow.findApiKey).toHaveBeenCalledTimes(2)
  })

  it.each([
    ['rejects', async () => Promise.reject(new Error('connect ECONNREFUSED db.internal'))],
    [
      'throws',
      () => {
        throw new Error('connect ECONNREFUSED db.internal')
      },
    ],
    ['never answers', () => new Promise<never>(() => {})],
    ['has rows without a tenant', async () => ({ id: 'k', subject: 's', scopes: [] }) as never],
    ['has rows without scopes', async () => ({ id: 'k', tenant: 't', subject: 's', scopes: null }) as never],
  ])(
    'that %s is an outage: 503 with Retry-After, no challenge, no reason; and over when it is',
    async (_name, fail) => {
      const slow = slowDirectory(fail)
      let now = 0
      const url = await start({ directory: slow, directoryTimeoutMs: 20, maxStaleMs: 0, now: () => now })
      const answer = await ask(url, { 'x-api-key': key })
      expect(answer).toMatchObject({ status: 503, challenge: null, body: { code: 'identity_unavailable' } })
      expect(answer.headers.get('retry-after')).toBe('1')
      expect(JSON.stringify(answer.body)).not.toMatch(/db.internal|ECONNREFUSED/)
      slow.findApiKey.mockImplementation(async () => record)
      // After a failure it is left alone for a second.
      now = 1_000
      expect((await ask(url, { 'x-api-key': key })).status).toBe(200)
    },
  )

  it('may say null for a key that it does not know', async () => {
    const url = await start({ directory: slowDirectory(async () => null as never) })
    expect((await ask(url, { 'x-api-key': key })).status).toBe(401)
  })

  it('sees digests, never keys', async () => {
    const slow = slowDirectory(async () => record)
    await ask(await start({ directory: slow }), { 'x-api-key': key })
    expect(slow.findApiKey).toHaveBeenCalledWith(`sha256:${digestOf(key)}`)
  })
})

describe('the factory', () => {
  const jwt = { issuer: 'https://a', audience: 'x', algorithms: ['HS256'] as const, secret: 's'.repeat(32) }
  it.each([
    ['nothing to check against', {}, /directory/],
    ['an unknown option', { directory, realmm: 'x' }, /realmm: is not a known option/],
    ['a directory that is none', { directory: {} }, /directory/],
    ['a realm that breaks out of the header', { directory, realm: 'a"b' }, /realm/],
    ['a short secret', { jwt: { ...jwt, secret: 's'.repeat(31) } }, /jwt\[0\]\.secret: must have 32 bytes/],
    ['a secret too short for its hash', { jwt: { ...jwt, algorithms: ['HS512'] } }, /64 bytes/],
    ['no algorithm', { jwt: { ...jwt, algorithms: [] } }, /algorithms/],
    ['the algorithm none', { jwt: { ...jwt, algorithms: ['none'] } }, /algorithms/],
    ['a public key algorithm with a secret', { jwt: { ...jwt, algorithms: ['HS256', 'RS256'] } }, /algorithms/],
    [
      'a secret algorithm with a key set',
      { jwt: { ...jwt, secret: undefined, jwksUrl: 'https://a/jwks' } },
      /algorithms/,
    ],
    ['secret and key set', { jwt: { ...jwt, jwksUrl: 'https://a/jwks' } }, /secret/],
    ['neither secret nor key set', { jwt: { ...jwt, secret: undefined } }, /secret/],
    ['no audience', { jwt: { ...jwt, audience: undefined } }, /audience/],
    ['an empty audience', { jwt: { ...jwt, audience: [] } }, /audience/],
    ['no issuer', { jwt: { ...jwt, issuer: '' } }, /issuer/],
    [
      'a key set in clear',
      { jwt: { ...jwt, algorithms: ['RS256'], secret: undefined, jwksUrl: 'http://idp.acme.com/jwks' } },
      /https/,
    ],
    [
      'one issuer twice',
      {
        jwt: [
          { ...jwt, tenants: 'any' },
          { ...jwt, tenants: 'any' },
        ],
      },
      /jwt\[1\]\.issuer/,
    ],
    ['several issuers without a word on tenants', { jwt: [jwt, { ...jwt, issuer: 'https://b' }] }, /tenants/],
    ['two ways to read claims', { jwt: { ...jwt, tenants: 'any', principal: () => undefined } }, /principal/],
  ])('refuses %s', (_name, options, words) => {
    expect(() => auth(options as AuthOptions)).toThrow(words)
    expect(() => auth(options as AuthOptions)).not.toThrow(/ssss/)
  })

  it('never changes its options', () => {
    const options = Object.freeze({ directory, jwt: Object.freeze([Object.freeze(jwt)]) })
    expect(() => auth(options)).not.toThrow()
  })
})

/** What the server answers to a request with these header lines, which `fetch` would merge. */
function raw(port: number, lines: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1', () =>
      socket.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`),
    )
    let text = ''
    socket
      .setEncoding('utf8')
      .on('data', (chunk) => (text += chunk))
      .on('end', () => resolve(text))
      .on('error', reject)
  })
}

/** Counts, and tells when a number is reached. */
function counter() {
  let count = 0
  const waiting = new Map<number, () => void>()
  return {
    add() {
      count += 1
      waiting.get(count)?.()
    },
    reached: (wanted: number) =>
      new Promise<void>((resolve) => {
        if (count >= wanted) resolve()
        else waiting.set(wanted, resolve)
      }),
  }
}
