import { randomUUID } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import type { LedgerRow } from '@tollgate/core/stores/ledger'
import { memoryLedger } from '@tollgate/core/stores/memory-ledger'
import { ledgerCases } from '@tollgate/core/testing/ledger'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PostgresDatabase, postgresDatabase, postgresIdentityStore, postgresLedger } from './index.js'

const serverUrl = process.env['TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const hasServer = await answers()

describe.each([
  ['PGlite', true],
  ['Postgres', false],
] as const)('postgresLedger in %s', (_name, embedded) => {
  let database: PostgresDatabase
  let end: () => Promise<void>
  let empty: () => Promise<unknown>

  beforeAll(async () => {
    if (embedded) {
      const pglite = await PGlite.create()
      database = postgresDatabase({ connection: { pglite } })
      empty = () => pglite.exec('truncate tollgate.ledger')
      end = () => pglite.close()
    } else if (hasServer) {
      const name = `tollgate_ledger_${process.pid}_${Date.now()}`
      await run(`create database ${name}`)
      const url = new URL(serverUrl)
      url.pathname = `/${name}`
      const client = new pg.Client({ connectionString: url.href })
      await client.connect()
      database = postgresDatabase({ connection: { url: url.href } })
      empty = () => client.query('truncate tollgate.ledger')
      end = async () => {
        await client.end()
        await run(`drop database ${name} with (force)`)
      }
    }
    await database?.ready()
  })
  afterAll(async () => {
    await database?.close()
    await end?.()
  })

  describe.skipIf(!embedded && !hasServer)('conforms', () => {
    it.each(ledgerCases)('$name', ({ run: check }) =>
      check(async () => {
        await empty()
        return postgresLedger({ database })
      }),
    )

    it('agrees with the ledger in memory on any rows', async () => {
      const count = fc.integer({ min: 0, max: 1_000_000 })
      const row: fc.Arbitrary<LedgerRow> = fc.record({
        id: fc.uuid(),
        at: fc.integer({ min: Date.parse('2026-01-01'), max: Date.parse('2027-01-01') }),
        durationMs: fc.integer({ min: 0, max: 1e6 }),
        requestId: fc.string(),
        tenant: fc.constantFrom('a', 'b'),
        user: fc.constantFrom('x', 'y', 'é', 'Z'),
        outcome: fc.constantFrom('ok' as const, 'error' as const, 'aborted' as const),
        status: fc.constant(200),
        usage: fc.record({ inputTokens: count, outputTokens: count, reasoningTokens: count, estimated: fc.boolean() }),
        costNanoUsd: fc.integer({ min: 0, max: 2 ** 48 }),
      })
      const dimensions = fc.subarray(['tenant', 'user', 'outcome'] as const)
      const per = fc.constantFrom(undefined, 'hour' as const, 'day' as const, 'month' as const)
      await fc.assert(
        fc.asyncProperty(fc.array(row, { maxLength: 30 }), dimensions, per, async (rows, by, unit) => {
          await empty()
          const [memory, stored] = [memoryLedger(), postgresLedger({ database })]
          for (const ledger of [memory, stored]) await ledger.append(rows)
          const query = { from: 0, to: 1e14, limit: 1_000, by, per: unit, timeZone: 'America/New_York' }
          expect(await stored.sums(query)).toEqual(await memory.sums(query))
        }),
        { numRuns: embedded ? 20 : 40 },
      )
    })

    it('loses no row for a character that the database does not keep', async () => {
      await empty()
      const ledger = postgresLedger({ database })
      const odd = 'a\u0000b\ud800c\\u0000\\\\'
      const row = {
        id: randomUUID(),
        at: 1,
        durationMs: 1,
        requestId: odd,
        tenant: 't',
        user: odd,
        outcome: 'ok',
        status: 200,
        tags: { [odd]: odd },
      } as const
      await ledger.append([row])
      const [kept] = (await ledger.rows({ from: 0, to: 9, limit: 1 })).items
      expect(kept?.user).toBe('a\ufffdb\ufffdc\\u0000\\\\')
    })

    it('shares its database with identities', async () => {
      const store = postgresIdentityStore({ database, secret: 'a secret of thirty-two bytes or more' })
      await store.close()
      await postgresLedger({ database }).close()
      await database.check()
    })
  })
})

it('wants a database, one way or the other', () => {
  expect(() => postgresLedger({})).toThrow(/connection or database/)
  expect(() => postgresLedger({ connection: { folder: 'x' }, database: {} as never })).toThrow(/database/)
})

async function run(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 2_000 })
  await client.connect()
  await client.query(statement).finally(() => client.end())
}

async function answers(): Promise<boolean> {
  try {
    await run('select 1')
    return true
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    process.stderr.write(`Skipped: no Postgres at ${serverUrl} (set TEST_DATABASE_URL).\n`)
    return false
  }
}
