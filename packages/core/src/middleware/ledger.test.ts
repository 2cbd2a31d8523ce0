import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { jsonBody } from '../http/body.js'
import { contextOf } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { dispatching, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { priceTable } from '../price-table.js'
import type { LedgerRow } from '../stores/ledger.js'
import { ledgerWriter } from '../stores/ledger-writer.js'
import { memoryLedger } from '../stores/memory-ledger.js'
import { cost } from './cost.js'
import { errorHandler } from './error-handler.js'
import { ledger } from './ledger.js'

const prices = priceTable({ list: false, overrides: { 'p/m': { usdPerMillionTokens: { input: '1', output: '2' } } } })
const usage = { inputTokens: 3, outputTokens: 4, estimated: false }
const as: Handler = (req, res, next) => {
  const subject = req.headers['x-as']
  if (typeof subject === 'string') {
    contextOf(req, res).principal = { tenant: 'acme', team: 't', subject, method: 'jwt', keyId: 'k1', scopes: [] }
  }
  next()
}
const route = endpoint('route', async (context, req, res) => {
  context.route = '/v1/thing'
  await jsonBody(req)
  if (req.headers['x-fail'] !== undefined) throw new TollgateError('upstream_failed', 'It failed.')
  await dispatching(context, { provider: 'p', model: 'm' })
  if (req.headers['x-wait'] !== undefined) await wait(5_000, undefined, { signal: context.signal }).catch(() => {})
  recordUsage(req, { provider: 'p', model: 'm', usage })
  sendJson(res, 200, {})
})

eachHost((host) => {
  it('writes a row for each request, whatever becomes of it, under an id of its own', async () => {
    const kept = memoryLedger()
    const writer = ledgerWriter({ ledger: kept, everyMs: 10 })
    onTestFinished(() => writer.close())
    const { url } = await host.start(
      as,
      ledger({ writer }),
      cost({ prices }),
      route,
      errorHandler({ log: { error() {}, warn() {} } }),
    )
    const ask = (headers: Record<string, string>, signal?: AbortSignal) =>
      fetch(url, {
        method: 'POST',
        body: JSON.stringify({ model: 'fast' }),
        headers: { 'content-type': 'application/json', 'x-request-id': 'same', ...headers },
        ...(signal === undefined ? {} : { signal }),
      })
    const rows = async (count: number) => {
      let found: readonly LedgerRow[] = []
      await expect
        .poll(async () => {
          found = (await kept.rows({ from: 0, to: 1e14, limit: 100 })).items
          return found.length
        })
        .toBe(count)
      return found
    }
    await ask({ 'x-as': 'ada', 'x-tollgate-tags': 'project=search,feature=a b , bad, __proto__=x' })
    expect(await rows(1)).toMatchObject([
      {
        requestId: 'same',
        tenant: 'acme',
        team: 't',
        user: 'ada',
        keyId: 'k1',
        route: '/v1/thing',
        modelAsked: 'fast',
        provider: 'p',
        model: 'm',
        usage,
        costNanoUsd: 11_000,
        outcome: 'ok',
        status: 200,
        tags: { project: 'search', feature: 'a b' },
      },
    ])
    await ask({ 'x-as': 'ada' })
    await ask({ 'x-as': 'eve', 'x-fail': 'yes' })
    const leaving = new AbortController()
    const left = ask({ 'x-as': 'bob', 'x-wait': 'yes' }, leaving.signal)
    await wait(50)
    leaving.abort()
    await expect(left).rejects.toThrow()
    await ask({})
    const all = await rows(4)
    expect(new Set(all.map(({ id }) => id)).size).toBe(4)
    expect(all.find(({ user }) => user === 'eve')).toMatchObject({
      outcome: 'error',
      status: 502,
      error: 'upstream_failed',
    })
    expect(all.find(({ user }) => user === 'bob')).toMatchObject({ outcome: 'aborted', status: 499 })
  })
})
