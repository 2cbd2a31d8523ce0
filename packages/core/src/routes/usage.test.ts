import { describe, expect, it } from 'vitest'
import { type Host, hosts } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import type { Handler } from '../http/handler.js'
import { errorHandler } from '../middleware/error-handler.js'
import type { Principal } from '../principal.js'
import type { LedgerRow } from '../stores/ledger.js'
import { memoryLedger } from '../stores/memory-ledger.js'
import { usageRoute } from './usage.js'

const now = Date.parse('2026-11-27T12:00:00Z')
const people: Record<string, Principal> = {
  operator: { tenant: 'root', subject: 'o', method: 'api-key', scopes: ['*'] },
  acme: { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: ['usage:read'] },
  nobody: { tenant: 'acme', subject: 'bob', method: 'jwt', scopes: ['chat', 'admin'] },
}
let count = 0
const row = (more: Partial<LedgerRow>): LedgerRow => ({
  id: String(count++),
  at: now - 3_600_000,
  durationMs: 1,
  requestId: 'r',
  tenant: 'acme',
  user: 'ada',
  outcome: 'ok',
  status: 200,
  provider: 'p',
  model: 'm',
  usage: { inputTokens: 10, outputTokens: 2, estimated: false },
  costNanoUsd: 1_500,
  ...more,
})

async function start() {
  const ledger = memoryLedger()
  const clock = { now }
  await ledger.append([
    row({ tags: { project: 'search' } }),
    row({ model: '=cmd|x', user: 'bob, "b"' }),
    row({ at: now - 40 * 86_400_000 }),
    row({ tenant: 'globex', user: 'eve', costNanoUsd: 9 }),
  ])
  const as: Handler = (req, res, next) => {
    contextOf(req, res).principal = people[String(req.headers['x-as'])]
    next()
  }
  const { url } = await (hosts[0] as Host).start(
    ['/v1/usage', as, usageRoute({ ledger, now: () => clock.now })],
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  const ask = async (who: string, query = '', headers: Record<string, string> = {}) => {
    const response = await fetch(`${url}/v1/usage${query}`, { headers: { 'x-as': who, ...headers } })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true
    const body = (isJson ? JSON.parse(text) : {}) as Record<string, unknown> & { data: Array<Record<string, unknown>> }
    return { status: response.status, headers: response.headers, text, body }
  }
  return { ask, ledger, clock }
}

describe('usageRoute', () => {
  it('sums the last 30 days of the own tenant by model', async () => {
    const { ask } = await start()
    const { status, body, headers } = await ask('acme')
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body).toMatchObject({ object: 'list', has_more: false, next_cursor: null })
    expect(body.data).toEqual([
      expect.objectContaining({ object: 'usage', group: { model: '=cmd|x' }, starts_at: null, requests: 1 }),
      expect.objectContaining({
        group: { model: 'm' },
        requests: 1,
        cost_usd: '0.0000015',
        input_tokens: 10,
        output_tokens: 2,
      }),
    ])
  })

  it('tells apart by what is asked for, in the time that is, only what has it', async () => {
    const { ask } = await start()
    const all = await ask(
      'acme',
      '?from=2026-01-01T00:00:00Z&group_by=user,tag:project&per=month&time_zone=Europe/Berlin',
    )
    expect(all.body.data.map(({ starts_at, group, requests }) => [starts_at, group, requests])).toEqual([
      ['2026-09-30T22:00:00.000Z', { user: 'ada', 'tag:project': null }, 1],
      ['2026-10-31T23:00:00.000Z', { user: 'ada', 'tag:project': 'search' }, 1],
      ['2026-10-31T23:00:00.000Z', { user: 'bob, "b"', 'tag:project': null }, 1],
    ])
    expect((await ask('acme', '?user=ada')).body.data).toHaveLength(1)
    expect((await ask('acme', '?to=2026-11-27T10:00:00Z&from=2026-11-27T09:00:00Z')).body.data).toEqual([])
  })

  it('shows other tenants to operators only', async () => {
    const { ask } = await start()
    expect((await ask('operator', '?group_by=tenant')).body.data.map(({ group }) => group)).toEqual([
      { tenant: 'acme' },
      { tenant: 'globex' },
    ])
    expect((await ask('operator', '?tenant=globex')).body.data).toMatchObject([{ cost_usd: '0.000000009' }])
    const refused = await ask('acme', '?tenant=globex')
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      403,
      expect.stringContaining('admin:all'),
    ])
    expect((await ask('acme', '?group_by=tenant')).body.data).toHaveLength(1)
    expect((await ask('nobody')).headers.get('www-authenticate')).toContain('scope="usage:read"')
    expect((await ask('stranger')).status).toBe(401)
  })

  it('gives pages, and CSV that no spreadsheet runs', async () => {
    const { ask } = await start()
    const first = await ask('acme', '?limit=1')
    expect(first.body).toMatchObject({ has_more: true })
    const second = await ask('acme', `?limit=1&cursor=${String(first.body['next_cursor'])}`)
    expect([first, second].flatMap(({ body }) => body.data.map(({ group }) => group))).toEqual([
      { model: '=cmd|x' },
      { model: 'm' },
    ])
    const csv = await ask('acme', '?group_by=model,user', { accept: 'text/csv' })
    expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8')
    expect(csv.text).toBe(
      'starts_at,model,user,requests,unpriced_requests,cost_usd,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,other_tokens,rows\r\n' +
        `,'=cmd|x,"bob, ""b""",1,0,0.0000015,10,0,0,2,0,0,0\r\n` +
        ',m,ada,1,0,0.0000015,10,0,0,2,0,0,0\r\n',
    )
  })

  it.each([
    ['?group_by=id', 'query.group_by'],
    ['?group_by=a,b,c,d,e,f', 'query.group_by'],
    ['?per=second', 'query.per'],
    ['?per=day&time_zone=Mars/Base', 'query.time_zone'],
    ['?from=yesterday', 'query.from'],
    ['?from=2027-01-01T00:00:00Z', 'query.from'],
    ['?limit=5000', 'query.limit'],
    ['?cursor=x', 'query.cursor'],
    ['?page=2', 'query.page'],
  ])('refuses %s and says where', async (query, path) => {
    const { ask } = await start()
    const { status, body } = await ask('acme', query)
    expect(status).toBe(400)
    expect(JSON.stringify(body['errors'])).toContain(path)
  })

  it.each([{}, { accept: 'text/csv' }])(
    'gives each group once over all pages, whatever comes meanwhile (%j)',
    async (headers) => {
      const { ask, ledger, clock } = await start()
      await ledger.append(['b', 'c', 'd'].map((model) => row({ user: 'paged', model })))
      const seen: unknown[] = []
      let cursor: string | null = ''
      for (let page = 0; cursor !== null && page < 9; page += 1) {
        const answer = await ask('acme', `?user=paged&limit=1${cursor && `&cursor=${cursor}`}`, headers)
        const [, line] = answer.text.split('\r\n')
        seen.push(
          'accept' in headers
            ? line?.split(',')[1]
            : (answer.body.data[0]?.['group'] as { model: string } | undefined)?.model,
        )
        cursor =
          'accept' in headers ? answer.headers.get('x-next-cursor') : (answer.body['next_cursor'] as string | null)
        clock.now += 1_000
        await ledger.append([row({ user: 'paged', model: 'a', at: clock.now - 500 })])
      }
      expect(seen).toEqual(['b', 'c', 'd'])
    },
  )

  it.each(['x', '1', '1.2', '1.2.x', '2.1.0', '-1.2.-1'])(
    'refuses %j, which is no cursor of this list',
    async (cursor) => {
      const { ask } = await start()
      const { status, body } = await ask('acme', `?cursor=${cursor}`)
      expect([status, JSON.stringify(body['errors'])]).toEqual([400, expect.stringContaining('query.cursor')])
    },
  )

  it('gives back to a ledger whatever it calls its next page', async () => {
    const { ask, ledger } = await start()
    const asked: unknown[] = []
    const { sums } = ledger
    ledger.sums = async (query) => {
      asked.push(query.after)
      return { ...(await sums({ ...query, after: undefined })), next: 'p-2.=/\n' }
    }
    const first = await ask('acme', '?limit=1')
    await ask('acme', `?limit=1&cursor=${encodeURIComponent(String(first.body['next_cursor']))}`)
    expect(asked).toEqual([undefined, 'p-2.=/\n'])
  })

  it('sums more than nine million dollars', async () => {
    const { ask, ledger } = await start()
    await ledger.append([1, 2, 3].map(() => row({ user: 'whale', costNanoUsd: 5_000_000_000_000_000 })))
    const { status, body } = await ask('acme', '?user=whale')
    expect([status, body.data[0]?.['cost_usd']]).toEqual([200, '15000000'])
  })

  it.each(['=1', '+1', '-1', '@x', '\t=1', '\n=1', '＝1', '＋1', '－1', '＠x'])(
    'gives spreadsheets %j as text',
    async (text) => {
      const { ask, ledger } = await start()
      await ledger.append([row({ user: 'odd', model: text })])
      const csv = await ask('acme', '?user=odd', { accept: 'text/csv' })
      expect(csv.text.split('\r\n')[1]).toMatch(/^,"?'/)
    },
  )

  it('is 503 while the ledger is away, without the reason', async () => {
    const { ask, ledger } = await start()
    ledger.sums = async () => Promise.reject(new Error('db.internal'))
    const { status, text } = await ask('acme')
    expect(status).toBe(503)
    expect(text).not.toContain('db.internal')
  })
})
