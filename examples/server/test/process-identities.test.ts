import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@tollgate/client'
import { drawApiKey } from '@tollgate/core/stores/api-key'
import pg from 'pg'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { address, startProcess } from './server-process.js'

interface TestDatabases {
  /** A new database, dropped when the test is over. */
  make(): Promise<string>
}

const databases = await testDatabases()

describe('the server as a process', () => {
  it('keeps keys, users and logins in its data folder, also when it is killed, and lets no other server in there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-'))
    const variables = {
      API_KEY: 'the-operators-key-0123456789',
      PASSWORD_GRANT: 'true',
      PUBLIC_URL: 'https://gate.example.com',
    }
    const start = async () => {
      const server = startProcess(variables, folder)
      const [, url = ''] = await server.said(address)
      await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000)
      const operator = createClient({ baseUrl: url, apiKey: variables.API_KEY })
      return { server, url, operator }
    }
    const first = await start()
    const made = await first.operator.keys.create({ name: 'website' })
    const lost = await first.operator.keys.create({ name: 'lost' })
    await first.operator.keys.revoke(lost.id)
    await first.operator.users.create({ username: 'grace', password: 'correct horse battery' })
    const credentials = { clientId: made.id, clientSecret: made.secret }
    const token = await fetch(`${first.url}/v1/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${made.id}:${made.secret}`)}` },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    })
    const { access_token: kept } = (await token.json()) as { access_token: string }

    const other = startProcess(variables, folder)
    const [, otherUrl = ''] = await other.said(address)
    await other.said(/Database: .* is in use by another process/)
    expect((await fetch(`${otherUrl}/ready`)).status).toBe(503)
    other.child.kill('SIGTERM')
    expect(await other.ended).toBe(0)

    first.server.child.kill('SIGKILL')
    await first.server.ended
    const again = await start()
    const me = async (credential: string) =>
      (await fetch(`${again.url}/v1/users/me`, { headers: { authorization: `Bearer ${credential}` } })).status
    expect([await me(made.secret), await me(lost.secret), await me(kept)]).toEqual([200, 401, 200])
    expect(await createClient({ baseUrl: again.url, credentials }).users.me()).toMatchObject({
      tenant: 'default',
      subject: `key:${made.id}`,
    })
    const grace = { username: 'grace', password: 'correct horse battery' }
    expect(await createClient({ baseUrl: again.url, credentials: grace }).users.me()).toMatchObject({
      subject: 'grace',
    })
    const data = join(folder, '.data')
    expect(statSync(data).mode & 0o777).toBe(0o700)
    expect(statSync(join(data, 'identity-secret')).mode & 0o777).toBe(0o600)
    again.server.child.kill('SIGTERM')
    expect(await again.server.ended).toBe(0)
    expect(again.server.output()).not.toMatch(/correct horse|tg_live_\w{12}_/)

    rmSync(join(data, 'identity-secret'))
    const bereft = startProcess(variables, folder)
    expect(await bereft.ended).toBe(1)
    expect(bereft.output()).toContain('DATA_FOLDER: ')
  })

  it.skipIf(databases === undefined)(
    'prints the first key of an empty database once, for one of several servers that start at once',
    async () => {
      const variables = {
        DATABASE_URL: await (databases as TestDatabases).make(),
        IDENTITY_SECRET: 'a secret of the tests, thirty-two characters',
      }
      const servers = [startProcess(variables), startProcess(variables), startProcess(variables)]
      const urls = await Promise.all(servers.map(async ({ said }) => (await said(address))[1] ?? ''))
      for (const url of urls) {
        await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000)
      }
      const keys = servers.flatMap(({ output }) => output().match(/tg_live_\w+/g) ?? [])
      expect(keys).toHaveLength(1)
      for (const url of urls) {
        const me = await createClient({ baseUrl: url, apiKey: keys[0] as string }).users.me()
        expect(me).toMatchObject({ tenant: 'default', scopes: ['*'] })
      }
      const last = startProcess(variables)
      const [, url = ''] = await last.said(address)
      await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000)
      expect(last.output()).not.toContain('tg_live_')
    },
  )

  it.skipIf(databases === undefined)(
    'keeps keys in Postgres: what one server revokes another refuses, and a restart forgets nothing',
    async () => {
      const databaseUrl = await (databases as TestDatabases).make()
      const operator = 'the-operators-key-0123456789'
      const variables = {
        DATABASE_URL: databaseUrl,
        IDENTITY_SECRET: 'a secret of the tests, thirty-two characters',
        API_KEY: operator,
      }
      const start = async () => {
        const server = startProcess(variables)
        const [, url = ''] = await server.said(address)
        await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000)
        return { server, url }
      }
      const [one, other] = await Promise.all([start(), start()])
      const admin = async (url: string, path: string, body: unknown) => {
        const headers = { 'x-api-key': operator, 'content-type': 'application/json' }
        const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
        return (await response.json()) as { id: string; secret: string; status: string }
      }
      const status = async (url: string, key: string) =>
        (await fetch(`${url}/v1/users/me`, { headers: { authorization: `Bearer ${key}` } })).status
      const [kept, lost] = [
        await admin(one.url, '/v1/keys', { name: 'kept' }),
        await admin(one.url, '/v1/keys', { name: 'lost' }),
      ]
      for (const { secret } of [kept, lost]) expect(await status(other.url, secret)).toBe(200)
      expect((await admin(one.url, `/v1/keys/${lost.id}/revoke`, {})).status).toBe('revoked')
      // Told by NOTIFY; the stated bound is ten seconds.
      await vi.waitFor(async () => expect(await status(other.url, lost.secret)).toBe(401), 10_000)
      expect(await status(other.url, kept.secret)).toBe(200)
      for (const { server } of [one, other]) {
        server.child.kill('SIGTERM')
        expect(await server.ended).toBe(0)
        expect(server.output()).not.toContain(kept.secret)
      }
      const again = await start()
      expect([await status(again.url, kept.secret), await status(again.url, lost.secret)]).toEqual([200, 401])
    },
  )

  it.skipIf(databases === undefined)(
    'lets known keys go on while the database is away, answers 503 for others, and goes on when it is back',
    async () => {
      const database = await cuttable(await (databases as TestDatabases).make())
      const operator = 'the-operators-key-0123456789'
      const server = startProcess({
        DATABASE_URL: database.url,
        IDENTITY_SECRET: 'a secret of the tests, thirty-two characters',
        API_KEY: operator,
      })
      const [, url = ''] = await server.said(address)
      const ready = async () => (await fetch(`${url}/ready`)).status
      await vi.waitFor(async () => expect(await ready()).toBe(200), 20_000)
      const { keys } = createClient({ baseUrl: url, apiKey: operator })
      const [known, other] = [await keys.create({ name: 'known' }), await keys.create({ name: 'other' })]
      const status = async (key: string) =>
        (await fetch(`${url}/v1/users/me`, { headers: { authorization: `Bearer ${key}` } })).status
      // Changes are told in their order: once this one has come back, none of the keys before is still to be forgotten.
      const last = await keys.create({ name: 'last' })
      expect(await status(last.secret)).toBe(200)
      await keys.revoke(last.id)
      await vi.waitFor(async () => expect(await status(last.secret)).toBe(401), 10_000)
      expect(await status(known.secret)).toBe(200)
      database.cut()
      await vi.waitFor(async () => expect(await ready()).toBe(503), 10_000)
      expect([await status(known.secret), await status(other.secret), await status(operator)]).toEqual([200, 503, 200])
      await expect(keys.create({ name: 'late' })).rejects.toMatchObject({ code: 'store_unavailable' })
      database.join()
      await vi.waitFor(async () => expect(await ready()).toBe(200), 20_000)
      await vi.waitFor(async () => expect(await status(other.secret)).toBe(200), 10_000)
      expect((await keys.list()).data.map(({ name }) => name)).toEqual(['last', 'other', 'known'])
      // Told again, by a connection of after the cut.
      await keys.revoke(known.id)
      await vi.waitFor(async () => expect(await status(known.secret)).toBe(401), 10_000)
    },
  )

  it('serves its own key while the database is away, says so in /ready, and answers 503 for the others', async () => {
    const operator = 'the-operators-key-0123456789'
    const server = startProcess({
      DATABASE_URL: 'postgres://user:a-password@127.0.0.1:1/none',
      IDENTITY_SECRET: 'a secret of the tests, thirty-two characters',
      API_KEY: operator,
    })
    const [, url = ''] = await server.said(address)
    await server.said(/Database: .*ECONNREFUSED/)
    const ready = await fetch(`${url}/ready`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ checks: { identities: 'pending', database: 'failed' } })
    const status = async (key: string) => (await fetch(`${url}/v1/models`, { headers: { 'x-api-key': key } })).status
    expect([
      await status(operator),
      await status(drawApiKey('live')),
      await status('mistyped'),
      await status('tg_live_x'),
    ]).toEqual([200, 503, 503, 401])
    expect(server.output()).not.toContain('a-password')
    server.child.kill('SIGTERM')
    expect(await server.ended).toBe(0)
  })
})

/** The database behind a relay that can be cut: open connections end and new ones are ended at once. */
async function cuttable(databaseUrl: string) {
  const target = new URL(databaseUrl)
  const open = new Set<Socket>()
  let isCut = false
  const relay = createServer((socket) => {
    if (isCut) return void socket.destroy()
    const upstream = connect(Number(target.port || 5432), target.hostname)
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      open.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        open.delete(one)
        other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of open) socket.destroy()
    relay.close()
  })
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String((relay.address() as AddressInfo).port)
  return {
    url: url.href,
    cut() {
      isCut = true
      for (const socket of open) socket.destroy()
    },
    join() {
      isCut = false
    },
  }
}

/** Databases on the server at `TEST_DATABASE_URL`; without a server there the tests are skipped on a laptop, and fail in CI. */
async function testDatabases(): Promise<TestDatabases | undefined> {
  const serverUrl = process.env['TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
  const run = async (statement: string) => {
    const client = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 2_000 })
    await client.connect()
    await client.query(statement).finally(() => client.end())
  }
  try {
    await run('select 1')
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    process.stderr.write(`Skipped: no Postgres at ${serverUrl} (set TEST_DATABASE_URL).\n`)
    return undefined
  }
  return {
    async make() {
      const name = `tollgate_server_${process.pid}_${Date.now()}`
      await run(`create database ${name}`)
      onTestFinished(() => run(`drop database ${name} with (force)`))
      const url = new URL(serverUrl)
      url.pathname = `/${name}`
      return url.href
    },
  }
}
