import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Ledger, LedgerDimension, LedgerQuery, LedgerRow } from '../stores/ledger.js'

export interface LedgerCase {
  readonly name: string
  run(make: () => Ledger | Promise<Ledger>): Promise<void>
}

const noon = Date.parse('2026-11-27T12:00:00Z')
const hourMs = 3_600_000

const row = (more: Partial<LedgerRow> = {}): LedgerRow => ({
  id: randomUUID(),
  at: noon,
  durationMs: 12,
  requestId: 'r1',
  tenant: 'acme',
  user: 'ada',
  outcome: 'ok',
  status: 200,
  ...more,
})
const call = (more: Partial<LedgerRow> = {}): LedgerRow =>
  row({
    provider: 'openai',
    model: 'gpt-4o',
    usage: { inputTokens: 10, outputTokens: 5, estimated: false },
    costNanoUsd: 1_000,
    ...more,
  })
const all = { from: noon - 1e12, to: noon + 1e12, limit: 100 }

function ledgerCase(name: string, check: (ledger: Ledger) => Promise<void>): LedgerCase {
  return {
    name,
    async run(make) {
      const ledger = await make()
      try {
        await check(ledger)
      } finally {
        await ledger.close()
      }
    },
  }
}

/**
 * What every {@link Ledger} does, as plain data. Each case wants one of its own, empty.
 *
 * @example for (const { name, run } of ledgerCases) it(name, () => run(() => memoryLedger()))
 */
export const ledgerCases: readonly LedgerCase[] = [
  ledgerCase('keeps a row with all its fields, and gives it back the same', async (ledger) => {
    const full = call({
      team: 'research ✓',
      keyId: 'k1',
      route: '/v1/chat/completions',
      modelAsked: 'fast "\\ \u2028',
      usage: {
        inputTokens: 1,
        cacheReadTokens: 2,
        cacheWriteTokens: 3,
        inputAudioTokens: 4,
        inputImageTokens: 5,
        outputTokens: 6,
        reasoningTokens: 7,
        outputAudioTokens: 8,
        rows: 9,
        estimated: true,
      },
      costNanoUsd: Number.MAX_SAFE_INTEGER,
      outcome: 'aborted',
      status: 499,
      error: 'client_closed',
      cache: 'miss',
      tags: { project: 'x', "o'd": '%_' },
    })
    const bare = row({ at: noon - 1 })
    await ledger.append([full, bare])
    const { items } = await ledger.rows(all)
    assert.deepEqual(plain(items), plain([full, bare]))
  }),
  ledgerCase('has a row once, however often and in whatever batches it is written', async (ledger) => {
    const rows = Array.from({ length: 20 }, () => call())
    await Promise.all([ledger.append(rows), ledger.append(rows.slice(5)), ledger.append([...rows].reverse())])
    await ledger.append([{ ...(rows[0] as LedgerRow), costNanoUsd: 9_999 }])
    const { items } = await ledger.sums({ ...all, by: [] })
    assert.deepEqual([items[0]?.requests, items[0]?.costNanoUsd], [20, 20_000])
    await ledger.append([])
  }),
  ledgerCase('sums every bucket exactly, also beyond what a float of the database would keep', async (ledger) => {
    const cost = 2 ** 52 - 1
    const usage = {
      inputTokens: 3,
      cacheReadTokens: 5,
      cacheWriteTokens: 7,
      outputTokens: 11,
      reasoningTokens: 13,
      inputAudioTokens: 1,
      inputImageTokens: 2,
      outputAudioTokens: 4,
      rows: 6,
      estimated: false,
    }
    await ledger.append([call({ usage, costNanoUsd: cost }), call({ usage, costNanoUsd: 2 }), row()])
    const { items } = await ledger.sums({ ...all, by: [] })
    assert.deepEqual(plain(items), [
      {
        of: {},
        requests: 3,
        unpriced: 0,
        costNanoUsd: cost + 2,
        inputTokens: 6,
        cacheReadTokens: 10,
        cacheWriteTokens: 14,
        outputTokens: 22,
        reasoningTokens: 26,
        otherTokens: 14,
        rows: 12,
      },
    ])
  }),
  ledgerCase('has no sum of nothing', async (ledger) => {
    for (const by of [[], ['model'] as const]) {
      assert.deepEqual(plain(await ledger.sums({ ...all, by })), { items: [] })
      assert.deepEqual(plain(await ledger.sums({ ...all, by, per: 'day' })), { items: [] })
    }
  }),
  ledgerCase('counts what has no known price', async (ledger) => {
    const { costNanoUsd: _, ...unpriced } = call()
    await ledger.append([unpriced, call()])
    const [sum] = (await ledger.sums({ ...all, by: [] })).items
    assert.deepEqual([sum?.requests, sum?.unpriced, sum?.costNanoUsd], [2, 1, 1_000])
  }),
  ledgerCase('tells sums apart by every dimension, those without one last', async (ledger) => {
    await ledger.append([
      call({ tags: { project: 'b' } }),
      call({ tags: { project: 'a' }, keyId: 'k1', team: 't' }),
      call({
        tenant: 'globex',
        user: 'eve',
        model: 'claude',
        provider: 'anthropic',
        outcome: 'error',
        tags: { other: 'a' },
      }),
      call(),
    ])
    const by = async (...dimensions: LedgerDimension[]) =>
      (await ledger.sums({ ...all, by: dimensions })).items.map(({ of, requests }) => [...Object.values(of), requests])
    assert.deepEqual(await by('tenant'), [
      ['acme', 3],
      ['globex', 1],
    ])
    assert.deepEqual(await by('tag:project'), [
      ['a', 1],
      ['b', 1],
      [null, 2],
    ])
    assert.deepEqual(await by('model', 'provider', 'outcome'), [
      ['claude', 'anthropic', 'error', 1],
      ['gpt-4o', 'openai', 'ok', 3],
    ])
    assert.deepEqual(await by('key', 'team', 'user'), [
      ['k1', 't', 'ada', 1],
      [null, null, 'ada', 2],
      [null, null, 'eve', 1],
    ])
  }),
  ledgerCase('shows one tenant nothing of another, and only what was asked for', async (ledger) => {
    await ledger.append([call(), call({ tenant: 'globex' }), call({ at: noon + hourMs, model: 'gpt-5' })])
    const count = async (query: Partial<LedgerQuery>) => {
      const [sum] = (await ledger.sums({ ...all, by: [], ...query })).items
      const { items } = await ledger.rows({ ...all, ...query })
      assert.equal(items.length, sum?.requests ?? 0)
      return items.length
    }
    assert.equal(await count({}), 3)
    assert.equal(await count({ tenant: 'acme' }), 2)
    assert.equal(await count({ tenant: 'none' }), 0)
    assert.equal(await count({ tenant: 'acme', from: noon + 1 }), 1)
    assert.equal(await count({ tenant: 'acme', to: noon + hourMs }), 1)
    assert.equal(await count({ where: { model: 'gpt-5' } }), 1)
    assert.equal(await count({ tenant: 'globex', where: { tenant: 'acme' } }), 0)
    assert.equal(await count({ where: { 'tag:x': 'y' } }), 0)
  }),
  ledgerCase('tells sums apart by hour, day and month of a time zone', async (ledger) => {
    const at = (text: string) => call({ at: Date.parse(text) })
    await ledger.append([
      at('2026-10-24T21:59:59.999Z'),
      at('2026-10-24T22:00:00.000Z'),
      at('2026-10-25T22:59:59.999Z'),
      at('2026-10-25T23:00:00.000Z'),
      at('2026-10-31T23:30:00.000Z'),
    ])
    const by = async (per: 'hour' | 'day' | 'month', timeZone?: string) =>
      (await ledger.sums({ ...all, by: [], per, timeZone })).items.map(({ startsAt, requests }) => [
        new Date(startsAt ?? 0).toISOString(),
        requests,
      ])
    assert.deepEqual(await by('day', 'Europe/Berlin'), [
      ['2026-10-23T22:00:00.000Z', 1],
      ['2026-10-24T22:00:00.000Z', 2],
      ['2026-10-25T23:00:00.000Z', 1],
      ['2026-10-31T23:00:00.000Z', 1],
    ])
    assert.deepEqual(await by('month', 'Europe/Berlin'), [
      ['2026-09-30T22:00:00.000Z', 4],
      ['2026-10-31T23:00:00.000Z', 1],
    ])
    assert.deepEqual(await by('month'), [['2026-10-01T00:00:00.000Z', 5]])
    assert.equal((await by('hour')).length, 5)
    // By name only: signs of offsets do not mean the same everywhere.
    for (const zone of ['+01:00', '-0500', 'Mars/Base', 'posixrules', '']) await assert.rejects(by('day', zone))
  }),
  ledgerCase('gives pages that are whole and without doubles', async (ledger) => {
    const rows = Array.from({ length: 25 }, (_, index) =>
      call({ user: `u${String(index).padStart(2, '0')}`, at: noon + index }),
    )
    await ledger.append(rows)
    const pages = async <Item>(
      page: (after: string | undefined) => Promise<{ items: readonly Item[]; next?: string }>,
    ) => {
      const items: Item[] = []
      let after: string | undefined
      do {
        const found = await page(after)
        assert.ok(found.items.length <= 10)
        items.push(...found.items)
        after = found.next
      } while (after !== undefined)
      return items
    }
    const sums = await pages((after) => ledger.sums({ ...all, by: ['user'], limit: 10, after }))
    assert.deepEqual(
      sums.map(({ of }) => of['user']),
      rows.map(({ user }) => user),
    )
    const shown = await pages((after) => ledger.rows({ ...all, limit: 10, after }))
    assert.deepEqual(
      shown.map(({ user }) => user),
      rows.map(({ user }) => user).reverse(),
    )
    await assert.rejects(
      ledger.rows({ ...all, after: 'x' }),
      (error: { code?: unknown }) => error.code === 'invalid_request',
    )
  }),
  ledgerCase('takes no harm from texts of any kind, and refuses what is no query', async (ledger) => {
    for (const odd of ["'; drop table ledger; --", '%', '__proto__', 'constructor', '\u0000', '\ud800', '', '☃']) {
      assert.deepEqual(
        (await ledger.sums({ ...all, by: [`tag:${odd}x`], where: { user: odd }, tenant: odd })).items,
        [],
      )
    }
    await ledger.append([call({ user: "o'd", tags: { ['__proto__x']: 'y' } })])
    assert.equal((await ledger.rows({ ...all, where: { user: "o'd" } })).items.length, 1)
    for (const wrong of [
      { by: ['nothing'] },
      { limit: 0 },
      { limit: 1e9 },
      { from: Number.NaN },
      { where: { id: 'x' } },
    ]) {
      await assert.rejects(
        ledger.sums({ ...all, by: [], ...(wrong as object) }),
        (error: { code?: unknown }) => error.code === 'config_invalid',
      )
    }
  }),
]

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}
