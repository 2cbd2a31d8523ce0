import { describe, expect, it, vi } from 'vitest'
import { type Host, hosts } from '../../test/hosts.js'
import { endpoint } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { drawApiKey } from '../stores/api-key.js'
import type { ApiKeyRecord, Directory, DirectoryChange } from '../stores/directory.js'
import { identitySecrets } from '../stores/identity-secrets.js'
import { memoryDirectory } from '../stores/memory-directory.js'
import { type AuthOptions, auth } from './auth.js'
import { errorHandler } from './error-handler.js'

const host = hosts[3] as Host
const quiet = { log: { error() {}, warn() {} } }
const whoAmI = endpoint('whoAmI', (context, _req, res) => sendJson(res, 200, context.principal ?? null))
const { digestsOf } = identitySecrets('a secret of thirty-two bytes or more')

/** A directory that answers later, as a database does, and counts what it is asked. */
function database() {
  const records = new Map<string, ApiKeyRecord>()
  const listeners = new Set<(change: DirectoryChange) => void>()
  const state = { down: false, now: 1_000_000 }
  const directory = {
    digestsOf,
    findApiKey: vi.fn(async (id: string) => {
      if (state.down) throw new Error('connect ECONNREFUSED 10.0.0.5')
      return records.get(id)
    }),
    findUser: async () => undefined,
    keyUsed: vi.fn(async () => {}),
    onChange(listener: (change: DirectoryChange) => void) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {},
  } satisfies Directory
  const add = (key: string, more: Partial<ApiKeyRecord> = {}) => {
    const id = key.split('_')[2] as string
    const secrets = [{ digest: digestsOf(key)[0] as string, hint: key.slice(-4), createdAt: 0 }]
    records.set(id, { id, tenant: 'acme', subject: `key:${id}`, scopes: ['chat'], secrets, ...more })
    return id
  }
  const tell = (change: DirectoryChange) => {
    for (const listener of listeners) listener(change)
  }
  return { directory, records, state, add, tell, now: () => state.now }
}

async function guard(options: AuthOptions) {
  const { url } = await host.start(auth(options), whoAmI, errorHandler(quiet))
  return async (key: string) => {
    const response = await fetch(url, { headers: { authorization: `Bearer ${key}` } })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }
}

describe('a key of our own form', () => {
  it('is found by its id and compared by its keyed hash', async () => {
    const { directory, add, now } = database()
    const key = drawApiKey('live')
    const id = add(key, { team: 'search', tier: 'pro', models: [['gpt-4o']] })
    const ask = await guard({ directory, now })
    const { status, text } = await ask(key)
    expect(status).toBe(200)
    expect(JSON.parse(text)).toEqual({
      tenant: 'acme',
      team: 'search',
      subject: `key:${id}`,
      method: 'api-key',
      keyId: id,
      scopes: ['chat'],
      tier: 'pro',
      models: [['gpt-4o']],
    })
    expect(directory.findApiKey.mock.calls).toEqual([[id]])
  })

  it('is refused without asking anyone if mistyped, truncated, of another environment, or a refresh token', async () => {
    const { directory, add, now } = database()
    const key = drawApiKey('live')
    const test = drawApiKey('test')
    const refresh = drawApiKey('refresh')
    for (const each of [key, test, refresh]) add(each)
    const ask = await guard({ directory, now, environment: 'live' })
    const swapped = key.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a'))
    for (const wrong of [swapped, key.slice(0, -1), `${key}x`, key.replace('_live_', '_test_'), test, refresh]) {
      expect((await ask(wrong)).status).toBe(401)
    }
    expect(directory.findApiKey).not.toHaveBeenCalled()
    expect((await ask(key)).status).toBe(200)
  })

  it('gets the same bytes whatever is wrong with it', async () => {
    const { directory, add, now } = database()
    const [expired, disabled, other] = [drawApiKey('live'), drawApiKey('live'), drawApiKey('live')]
    add(expired, { expiresAt: now() })
    add(disabled, { disabled: true })
    const wrongSecret = drawApiKey('live', add(other))
    const ask = await guard({ directory, now })
    const answers = []
    for (const key of [expired, disabled, wrongSecret, drawApiKey('live'), `${other}x`, 'anything']) {
      const { status, headers, text } = await ask(key)
      const body = JSON.parse(text) as Record<string, unknown>
      delete body['request_id']
      delete body['instance']
      delete body['timestamp']
      answers.push(JSON.stringify([status, headers.get('www-authenticate'), body]))
    }
    expect(new Set(answers).size, answers.join('\n')).toBe(1)
    expect(answers[0]).toMatch(/^\[401,/)
  })

  it('is good with either secret while one replaces the other, and with the old one no longer than told', async () => {
    const { directory, records, add, state, now } = database()
    const old = drawApiKey('live')
    const id = add(old)
    const fresh = drawApiKey('live', id)
    const record = records.get(id) as ApiKeyRecord
    const [first] = record.secrets
    records.set(id, {
      ...record,
      secrets: [
        { digest: digestsOf(fresh)[0] as string, hint: '', createdAt: now() },
        { ...(first as NonNullable<typeof first>), expiresAt: now() + 5_000 },
      ],
    })
    const ask = await guard({ directory, now })
    expect([(await ask(old)).status, (await ask(fresh)).status]).toEqual([200, 200])
    state.now += 5_000
    expect([(await ask(old)).status, (await ask(fresh)).status]).toEqual([401, 200])
  })

  it('is refused at once when its change is told, and within maxStaleMs when it is not', async () => {
    const { directory, records, add, state, tell, now } = database()
    const [told, untold] = [drawApiKey('live'), drawApiKey('live')]
    const ask = await guard({ directory, now, maxStaleMs: 10_000 })
    for (const key of [told, untold]) {
      const id = add(key)
      expect((await ask(key)).status).toBe(200)
      records.set(id, { ...(records.get(id) as ApiKeyRecord), disabled: true })
    }
    expect((await ask(told)).status).toBe(200)
    tell({ kind: 'key', id: told.split('_')[2] as string })
    expect((await ask(told)).status).toBe(401)
    expect((await ask(untold)).status).toBe(200)
    state.now += 10_000
    expect((await ask(untold)).status).toBe(401)
  })

  it('is forgotten with its tenant, and when nobody knows what was missed', async () => {
    for (const change of [{ kind: 'tenant', id: 'acme' }, { kind: 'all' }] as const) {
      const { directory, records, add, tell, now } = database()
      const key = drawApiKey('live')
      const id = add(key)
      const ask = await guard({ directory, now })
      expect((await ask(key)).status).toBe(200)
      records.delete(id)
      tell({ kind: 'tenant', id: 'globex' })
      expect((await ask(key)).status).toBe(200)
      tell(change)
      expect((await ask(key)).status).toBe(401)
    }
  })

  it('does not come back from a lookup that began before it was revoked', async () => {
    const { directory, records, add, tell, now } = database()
    const key = drawApiKey('live')
    const id = add(key)
    const before = records.get(id) as ApiKeyRecord
    let answer: (record: ApiKeyRecord) => void = () => {}
    directory.findApiKey.mockImplementationOnce(() => new Promise((resolve) => (answer = resolve)))
    const ask = await guard({ directory, now })
    const early = ask(key)
    await vi.waitFor(() => expect(directory.findApiKey).toHaveBeenCalledTimes(1), 10_000)
    records.set(id, { ...before, disabled: true })
    tell({ kind: 'key', id })
    answer(before)
    await early
    expect((await ask(key)).status).toBe(401)
  })

  it('goes on while the database is down, as long as stated, then 503: never 401, never open', async () => {
    const { directory, add, state, now } = database()
    const [known, unknown] = [drawApiKey('live'), drawApiKey('live')]
    add(known)
    add(unknown)
    const ask = await guard({ directory, now, maxStaleMs: 10_000, staleIfErrorMs: 60_000 })
    expect((await ask(known)).status).toBe(200)
    state.down = true
    state.now += 69_999
    expect((await ask(known)).status).toBe(200)
    const refused = await ask(unknown)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('www-authenticate')).toBeNull()
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(refused.text).not.toMatch(/ECONNREFUSED|10\.0\.0\.5/)
    const asked = directory.findApiKey.mock.calls.length
    for (let index = 0; index < 20; index += 1) await ask(unknown)
    expect(directory.findApiKey.mock.calls.length, 'left alone for a second').toBe(asked)
    state.now += 2
    expect((await ask(known)).status).toBe(503)
    state.down = false
    state.now += 1_000
    expect([(await ask(known)).status, (await ask(unknown)).status]).toEqual([200, 200])
  })

  it('believes nothing longer because the clock was set back', async () => {
    const { directory, records, add, state, now } = database()
    const key = drawApiKey('live')
    const id = add(key)
    const ask = await guard({ directory, now })
    expect((await ask(key)).status).toBe(200)
    records.delete(id)
    state.now -= 3_600_000
    expect((await ask(key)).status).toBe(401)
  })

  it('is noted as used once a minute, by its id', async () => {
    const { directory, add, state, now } = database()
    const key = drawApiKey('live')
    const id = add(key)
    const ask = await guard({ directory, now })
    for (const later of [0, 30_000, 29_999, 1]) {
      state.now += later
      await ask(key)
    }
    expect(directory.keyUsed.mock.calls).toEqual([
      [id, 1_000_000],
      [id, 1_060_000],
    ])
  })

  it('works from the addresses it is for only', async () => {
    const { directory, add, now } = database()
    const [home, away, broken] = [drawApiKey('live'), drawApiKey('live'), drawApiKey('live')]
    add(home, { addresses: ['10.0.0.0/8', '127.0.0.1'] })
    add(away, { addresses: ['10.0.0.0/8'] })
    add(broken, { addresses: ['0.0.0.0/0'] })
    const ask = await guard({ directory, now })
    expect((await ask(home)).status).toBe(200)
    expect((await ask(away)).status).toBe(403)
    expect((await ask(broken)).status).toBe(503)
  })
})

describe('guesses from one address', () => {
  it('are refused unseen after so many, while a key that is known there goes on', async () => {
    const { directory, add, state, now } = database()
    const [known, fresh] = [drawApiKey('live'), drawApiKey('live')]
    add(known)
    add(fresh)
    const ask = await guard({ directory, now, failures: { limit: 5, windowMs: 60_000 } })
    expect((await ask(known)).status).toBe(200)
    const statuses = []
    for (let index = 0; index < 8; index += 1) statuses.push((await ask(drawApiKey('live'))).status)
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429, 429])
    const asked = directory.findApiKey.mock.calls.length
    const kept = await ask(fresh)
    expect(kept.status).toBe(429)
    expect(Number(kept.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(directory.findApiKey.mock.calls.length).toBe(asked)
    expect((await ask(known)).status).toBe(200)
    // Also when its record has to be looked up anew.
    state.now += 10_000
    expect((await ask(fresh)).status).toBe(429)
    expect((await ask(known)).status).toBe(200)
    state.now += 2_000
    expect((await ask(fresh)).status).toBe(200)
  })
})

describe('several directories', () => {
  it('are asked in their order, and one that is down takes nothing from those before it', async () => {
    const { directory, add, state, now } = database()
    const operator = 'an-operators-own-key-0123456789abcdef'
    const issued = drawApiKey('live')
    add(issued)
    const fixed = memoryDirectory({ apiKeys: [{ key: operator, tenant: 'default', subject: 'operator' }] })
    const ask = await guard({ directory: [fixed, directory], now })
    expect([(await ask(operator)).status, (await ask(issued)).status]).toEqual([200, 200])
    expect(directory.findApiKey.mock.calls).toEqual([[issued.split('_')[2]]])
    state.down = true
    expect([(await ask(operator)).status, (await ask(drawApiKey('live'))).status]).toEqual([200, 503])
  })
})
