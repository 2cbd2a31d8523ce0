import { createServer, Socket } from 'node:net'
import type { DirectoryChange } from '@tollgate/core/stores/directory'
import { identityStoreCases } from '@tollgate/core/testing/identity-store'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { by, names, opened, secret, serverUrl } from '../test/opened-store.js'
import { type PostgresIdentityStore, postgresIdentityStore } from './index.js'

/** Waits for a change that fits, two seconds at most by vitest's own clock. */
function heard(store: PostgresIdentityStore): { readonly changes: DirectoryChange[] } {
  const changes: DirectoryChange[] = []
  store.onChange?.((change) => changes.push(change))
  return { changes }
}

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
    const { rows } = await client.query('select version from tollgate.migrations order by version')
    expect(rows).toEqual([{ version: 1 }, { version: 2 }, { version: 3 }])
  })

  it.each(identityStoreCases)('$name', ({ run }) =>
    run(async (options) => {
      await empty()
      const store = postgresIdentityStore({ connection, secret, ...options })
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
    await relayTo(url, port)
    await ready
    await store.check()
    await store.close()
  })

  it('that cuts its connections while a statement runs is an error for who waits, and not the end of the process', async () => {
    await empty()
    const uncaught: unknown[] = []
    const onUncaught = (error: unknown) => uncaught.push(error)
    process.on('uncaughtExceptionMonitor', onUncaught)
    onTestFinished(() => {
      process.off('uncaughtExceptionMonitor', onUncaught)
    })
    const relay = await relayTo(url)
    const store = await opened({ url: relay.url })
    await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
    const waiting = async (cut: () => unknown) => {
      await client.query('begin')
      await client.query('select from tollgate.tenants for update')
      const update = store
        .update('tenant', { id: 'acme' }, () => ({ name: 'New' }), by)
        .catch((error: unknown) => error)
      await vi.waitFor(async () => expect(await waiters()).toBe(1), 5_000)
      await cut()
      expect(await update).toBeInstanceOf(Error)
      await client.query('rollback')
      await vi.waitFor(() => store.check(), 5_000)
      expect((await store.find('tenant', { id: 'acme' }))?.name).toBe('Acme')
    }
    const waiters = async () =>
      (await client.query(`select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'`, [database]))
        .rowCount
    await waiting(() => relay.cut())
    await waiting(() =>
      client.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()`,
        [database],
      ),
    )
    expect(uncaught).toEqual([])
  })

  it('behind connections that went silent is asked over new ones', async () => {
    const relay = await relayTo(url)
    const store = postgresIdentityStore({
      connection: { url: relay.url, max: 3 },
      secret,
      timeoutMs: 200,
      onError: () => {},
    })
    onTestFinished(() => store.close())
    await store.ready()
    await Promise.all([store.check(), store.check()])
    relay.silence()
    for (let silent = 0; silent < 2; silent += 1) await expect(store.check()).rejects.toThrow()
    for (let again = 0; again < 3; again += 1) await store.check()
  })

  it('is closed also while it begins to listen again', async () => {
    const relay = await relayTo(url)
    const store = await opened({ url: relay.url }, () => {})
    const held = relay.hold()
    relay.cut()
    const letIn = await held
    const closed = Promise.resolve(store.close()).then(() => 'closed')
    letIn()
    const late = new Promise((resolve) => setTimeout(resolve, 3_000, 'late').unref())
    expect(await Promise.race([closed, late])).toBe('closed')
  })

  it('goes on telling when a listener throws, and says so', async () => {
    await empty()
    const errors: unknown[] = []
    const store = await opened(connection, (error) => errors.push(error))
    const thrown = new Error('no')
    store.onChange?.(() => {
      throw thrown
    })
    const { changes } = heard(store)
    // Too long for NOTIFY: all that can be told is that something changed.
    await store.create('tenant', { id: 'ab'.repeat(4_000), name: 'Long', disabled: false }, by)
    await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
    await vi.waitFor(() => expect(changes).toEqual([{ kind: 'all' }, { kind: 'tenant', id: 'acme' }]), 5_000)
    expect(errors).toEqual([thrown, thrown])
  })

  it('refuses what memoryIdentityStore refuses too, and characters that Postgres does not keep', async () => {
    await empty()
    const store = await opened(connection)
    for (const id of ['acme', 'globex']) await store.create('tenant', { id, name: id, disabled: false }, by)
    const owner = { kind: 'tenant', id: 'acme' } as const
    const key = { environment: 'live', name: 'k', scopes: [], roles: [], secrets: [] } as const
    await store.create('key', { ...key, id: 'k1', tenant: 'acme', owner }, by)
    const stray = store.update('key', { id: 'k1' }, () => ({ owner: { kind: 'tenant' as const, id: 'globex' } }), by)
    await expect(stray).rejects.toMatchObject({ code: 'not_found' })
    for (const text of ['\u0000', '\ud800']) {
      const tenant = { id: `x${text}`, name: 'x', disabled: false }
      await expect(store.create('tenant', tenant, by)).rejects.toMatchObject({ code: 'invalid_request' })
      const named = store.update('tenant', { id: 'acme' }, () => ({ name: text }), by)
      await expect(named).rejects.toMatchObject({ code: 'invalid_request' })
    }
    expect((await store.listAudit({ limit: 10 })).items).toHaveLength(3)
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

/** A way to the database that can be cut, go silent, or hold the next one at the door. */
async function relayTo(target: URL, port: string | number = 0) {
  const pairs = new Set<{ readonly near: Socket; readonly far: Socket }>()
  let atTheDoor: ((letIn: () => void) => void) | undefined
  const server = createServer((near) => {
    const far = new Socket()
    pairs.add({ near, far })
    near.on('error', () => far.destroy())
    near.on('close', () => far.destroy())
    far.on('error', () => near.destroy())
    const letIn = () => {
      far.connect(Number(target.port || 5432), target.hostname)
      near.pipe(far).pipe(near)
    }
    if (atTheDoor === undefined) return letIn()
    atTheDoor(letIn)
    atTheDoor = undefined
  })
  await new Promise<void>((resolve) => server.listen(Number(port), '127.0.0.1', resolve))
  const url = new URL(target)
  url.port = String((server.address() as { port: number }).port)
  const cut = () => {
    for (const { near } of pairs) near.resetAndDestroy()
    pairs.clear()
  }
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    cut()
    await closed
  })
  return {
    url: url.href,
    cut,
    silence() {
      for (const { near, far } of pairs) {
        near.unpipe(far).resume()
        far.unpipe(near).resume()
      }
    },
    /** The next connection waits until it is let in. */
    hold: () =>
      new Promise<() => void>((resolve) => {
        atTheDoor = resolve
      }),
  }
}
