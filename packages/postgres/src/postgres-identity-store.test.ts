import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { drawApiKey } from '@tollgate/core/stores/api-key'
import type { DirectoryChange } from '@tollgate/core/stores/directory'
import type { Change } from '@tollgate/core/stores/identity-store'
import { identityStoreCases } from '@tollgate/core/testing/identity-store'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type PostgresConnection, type PostgresIdentityStore, postgresIdentityStore } from './index.js'

const secret = 'a secret of thirty-two bytes or more'
const serverUrl = process.env['TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const by: Change = { action: 'test', at: 1_000, actor: { tenant: 'root', subject: 'operator', method: 'api-key' } }
const names = [
  'tenants',
  'teams',
  'roles',
  'users',
  'api_keys',
  'audit_log',
  'refresh_tokens',
  'revoked_tokens',
  'signing_keys',
]

async function opened(connection: PostgresConnection, onError: (error: unknown) => void = () => {}) {
  const store = postgresIdentityStore({ connection, secret, onError })
  onTestFinished(() => store.close())
  await store.ready()
  return store
}

/** Waits for a change that fits, two seconds at most by vitest's own clock. */
function heard(store: PostgresIdentityStore): { readonly changes: DirectoryChange[] } {
  const changes: DirectoryChange[] = []
  store.onChange?.((change) => changes.push(change))
  return { changes }
}

describe('on embedded Postgres', () => {
  let pglite: PGlite
  beforeAll(async () => {
    pglite = await PGlite.create()
    const store = postgresIdentityStore({ connection: { pglite }, secret })
    await store.ready()
    await store.close()
  })
  afterAll(() => pglite.close())

  it.each(identityStoreCases)('$name', ({ run }) =>
    run(async () => {
      await pglite.exec(`truncate ${names.map((name) => `tollgate.${name}`).join(', ')} restart identity cascade`)
      const store = postgresIdentityStore({ connection: { pglite }, secret })
      await store.ready()
      return store
    }),
  )

  it('keeps everything in its folder over a restart, and no secret in clear', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tollgate-pglite-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const key = drawApiKey('live', 'AbCdEfGh0123')
    const first = await opened({ folder: join(folder, 'data') })
    await first.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
    const digest = first.digestsOf(key)[0] as string
    await first.create(
      'key',
      {
        id: 'AbCdEfGh0123',
        tenant: 'acme',
        environment: 'live',
        name: 'k',
        owner: { kind: 'tenant', id: 'acme' },
        scopes: [],
        roles: [],
        secrets: [{ digest, hint: key.slice(-4), createdAt: 0 }],
      },
      by,
    )
    const privateKey = '{"d":"a-private-number"}'
    const signing = { kid: 'a', alg: 'ES256', publicKey: {}, privateKey, createdAt: 0, signsFrom: 0 }
    expect(await first.addSigningKey(signing, undefined, 0, by)).toBe(true)
    await first.close()

    const second = await opened({ folder: join(folder, 'data') })
    expect((await second.findApiKey('AbCdEfGh0123'))?.secrets).toEqual([{ digest, hint: key.slice(-4), createdAt: 0 }])
    expect((await second.signingKeys(0))[0]?.privateKey).toBe(privateKey)
    expect((await second.listAudit({ limit: 10 })).items).toHaveLength(3)
    await second.close()

    const raw = await PGlite.create(join(folder, 'data'))
    for (const name of names) {
      const { rows } = await raw.query<{ text: string }>(`select r::text as text from tollgate.${name} r`)
      const text = rows.map((row) => row.text).join('\n')
      for (const clear of [key, key.slice(22, -4), 'a-private-number']) expect(text).not.toContain(clear)
    }
    await raw.exec('insert into tollgate.migrations values (1000, 0)')
    await raw.close()
    const errors: unknown[] = []
    const newer = postgresIdentityStore({
      connection: { folder: join(folder, 'data') },
      secret,
      onError: (error) => errors.push(error),
    })
    newer.ready().catch(() => {})
    await vi.waitFor(() => expect(String(errors[0])).toMatch(/version 1000, and this release knows 1/), 10_000)
    await expect(newer.findApiKey('AbCdEfGh0123')).rejects.toMatchObject({ code: 'store_unavailable' })
    await newer.close()
  })
})

const reachable = await isReachable()
if (!reachable && process.env['CI'] !== 'true') {
  process.stderr.write(`Skipped: no Postgres at ${serverUrl} (set TEST_DATABASE_URL).\n`)
}

describe.skipIf(!reachable && process.env['CI'] !== 'true')('on a Postgres server', () => {
  const database = `tollgate_test_${process.pid}_${Date.now()}`
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  const connection = { url: url.href, max: 4 }
  let admin: pg.Client
  let client: pg.Client
  beforeAll(async () => {
    admin = new pg.Client(serverUrl)
    await admin.connect()
    await admin.query(`create database ${database}`)
    client = new pg.Client(url.href)
    await client.connect()
  })
  afterAll(async () => {
    await client.end()
    await admin.query(`drop database ${database} with (force)`)
    await admin.end()
  })
  const empty = () =>
    client.query(`truncate ${names.map((name) => `tollgate.${name}`).join(', ')} restart identity cascade`)

  it('is brought up to date once by five who start at the same time', async () => {
    const stores = await Promise.all(Array.from({ length: 5 }, () => opened({ ...connection, max: 2 })))
    expect(stores).toHaveLength(5)
    const { rows } = await client.query('select version from tollgate.migrations')
    expect(rows).toEqual([{ version: 1 }])
  })

  it.each(identityStoreCases)('$name', ({ run }) =>
    run(async () => {
      await empty()
      const store = postgresIdentityStore({ connection, secret })
      await store.ready()
      return store
    }),
  )

  it('tells another process what was changed, and "all" after the connection that listens was lost', async () => {
    await empty()
    const [one, errors] = [await opened(connection), [] as unknown[]]
    const other = await opened(connection, (error) => errors.push(error))
    const { changes } = heard(other)
    await one.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
    await vi.waitFor(() => expect(changes).toEqual([{ kind: 'tenant', id: 'acme' }]), 5_000)
    await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid() and query = 'listen tollgate_identity'`,
      [database],
    )
    await vi.waitFor(() => expect(changes).toContainEqual({ kind: 'all' }), 10_000)
    expect(errors.length).toBeGreaterThan(0)
    await one.update('tenant', { id: 'acme' }, () => ({ name: 'New' }), by)
    await vi.waitFor(() => expect(changes.at(-1)).toEqual({ kind: 'tenant', id: 'acme' }), 5_000)
    await other.check()
  })

  it('that is down at the start is told of, tried again, and then there', async () => {
    const gate = createServer()
    await new Promise<void>((resolve) => gate.listen(0, '127.0.0.1', resolve))
    const { port } = gate.address() as { port: number }
    await new Promise((resolve) => gate.close(resolve))
    const away = new URL(url)
    away.port = String(port)
    away.password = 'a-password-of-ours'
    const errors: unknown[] = []
    const store = postgresIdentityStore({
      connection: { url: away.href },
      secret,
      onError: (error) => errors.push(error),
    })
    const ready = store.ready()
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0), 5_000)
    expect(String(errors[0])).toContain('ECONNREFUSED')
    expect(JSON.stringify(errors) + errors.map(String)).not.toContain('a-password-of-ours')
    await expect(store.findApiKey('x')).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(store.check()).rejects.toMatchObject({ code: 'store_unavailable' })

    // The database comes up: a relay to the real one at the address that was dead.
    const relay = createServer((socket) => {
      const upstream = new Socket()
      upstream.connect(Number(url.port || 5432), url.hostname)
      socket.pipe(upstream).pipe(socket)
      socket.on('error', () => upstream.destroy())
      upstream.on('error', () => socket.destroy())
    })
    await new Promise<void>((resolve) => relay.listen(port, '127.0.0.1', resolve))
    onTestFinished(() => new Promise<void>((resolve) => relay.close(() => resolve())))
    await ready
    await store.check()
    await store.close()
  })

  it('that stops answering is an error within the stated time, never a hang', async () => {
    const silent = createServer(() => {})
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as { port: number }
    const mute = new URL(url)
    mute.port = String(port)
    const errors: unknown[] = []
    const store = postgresIdentityStore({
      connection: { url: mute.href },
      secret,
      timeoutMs: 200,
      onError: (error) => errors.push(error),
    })
    store.ready().catch(() => {})
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0), 5_000)
    await store.close()
    silent.close()
  })
})

describe('the factory', () => {
  it('refuses what it cannot work with', () => {
    expect(() => postgresIdentityStore({ connection: undefined as never, secret })).toThrow(/connection/)
    expect(() => postgresIdentityStore({ connection: { folder: 'x' }, secret: 'short' })).toThrow(/32 bytes/)
    expect(() => postgresIdentityStore({ connection: { folder: 'x' }, secret, timeoutMs: 0 })).toThrow(/timeoutMs/)
  })
})

async function isReachable(): Promise<boolean> {
  const probe = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 2_000 })
  try {
    await probe.connect()
    await probe.end()
    return true
  } catch {
    return false
  }
}
