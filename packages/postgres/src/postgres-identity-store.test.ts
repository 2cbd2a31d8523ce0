import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { drawApiKey } from '@tollgate/core/stores/api-key'
import { identityStoreCases } from '@tollgate/core/testing/identity-store'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { by, names, opened, secret, serverUrl } from '../test/opened-store.js'
import { postgresIdentityStore } from './index.js'

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
    run(async (options) => {
      await pglite.exec(`truncate ${names.map((name) => `tollgate.${name}`).join(', ')} restart identity cascade`)
      const store = postgresIdentityStore({ connection: { pglite }, secret, ...options })
      await store.ready()
      return store
    }),
  )

  it('that another transaction keeps busy is an error within the stated time, and nothing is done of it later', async () => {
    await pglite.exec(`truncate ${names.map((name) => `tollgate.${name}`).join(', ')} restart identity cascade`)
    const store = postgresIdentityStore({ connection: { pglite }, secret, timeoutMs: 200 })
    onTestFinished(() => store.close())
    await store.ready()
    await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
    let free = () => {}
    const busy = pglite.transaction(
      () =>
        new Promise<void>((resolve) => {
          free = resolve
        }),
    )
    const asked = [store.check(), store.update('tenant', { id: 'acme' }, () => ({ name: 'Late' }), by)]
    for (const each of asked) await expect(each).rejects.toThrow('No answer within 200 ms.')
    free()
    await busy
    await store.check()
    expect((await store.find('tenant', { id: 'acme' }))?.name).toBe('Acme')
  })

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

    const raw = await PGlite.create(join(folder, 'data', 'database'))
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
    await vi.waitFor(() => expect(String(errors[0])).toMatch(/version 1000, and this release knows 3/), 10_000)
    await expect(newer.findApiKey('AbCdEfGh0123')).rejects.toMatchObject({ code: 'store_unavailable' })
    await newer.close()
  })
})

describe('the factory', () => {
  it('refuses what it cannot work with', () => {
    expect(() => postgresIdentityStore({ connection: undefined as never, secret })).toThrow(/connection/)
    expect(() => postgresIdentityStore({ connection: { folder: 'x' }, secret: 'short' })).toThrow(/32 bytes/)
    expect(() => postgresIdentityStore({ connection: { folder: 'x' }, secret, timeoutMs: 0 })).toThrow(/timeoutMs/)
    const misspelt = { connection: { folder: 'x' }, secret, statementTimeoutMs: 5 }
    expect(() => postgresIdentityStore(misspelt)).toThrow(/statementTimeoutMs/)
    for (const connection of [{}, { url: 'localhost' }, { folder: '' }, { url: serverUrl, max: 1 }, { pglite: {} }]) {
      expect(() => postgresIdentityStore({ connection: connection as never, secret })).toThrow(/connection/)
    }
    // One connection listens: a second one has to ask.
    const pool = new pg.Pool({ max: 1 })
    expect(() => postgresIdentityStore({ connection: { pool }, secret })).toThrow(/connection/)
  })
})
