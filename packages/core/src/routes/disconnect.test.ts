import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { listen } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import { type Handler, listener } from '../http/handler.js'
import { inferenceService } from '../inference/service.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { ledger } from '../middleware/ledger.js'
import { limits } from '../middleware/limits.js'
import { priceTable } from '../price-table.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import type { LedgerRow } from '../stores/ledger.js'
import { chatCompletions } from './chat-completions.js'
import { embeddings } from './embeddings.js'
import { inference } from './inference.js'
import type { OnDisconnect } from './invoke.js'

const rate = { usdPerMillionTokens: { input: '1', output: '1' } }
const prices = priceTable({ list: false, overrides: { m: rate } })
const as: Handler = (req, res, next) => {
  contextOf(req, res).principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
  next()
}

/** An upstream that answers when it is let go, and says that it used 1,000 tokens. */
async function slowUpstream() {
  const seen = { asked: 0, answered: 0, closed: 0 }
  let letGo = () => {}
  const gone = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const server = createServer(async (req, res) => {
    for await (const _ of req);
    seen.asked += 1
    res.on('close', () => {
      if (!res.writableFinished) seen.closed += 1
    })
    await gone
    if (res.destroyed) return
    seen.answered += 1
    const usage = { prompt_tokens: 1_000, completion_tokens: 0, total_tokens: 1_000 }
    const choices = [{ index: 0, message: { role: 'assistant', content: '' }, finish_reason: 'stop' }]
    const data = [{ object: 'embedding', index: 0, embedding: [0.5] }]
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ choices, data, usage }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, seen, letGo }
}

const surfaces = [
  ['/v1/embeddings', embeddings, { model: 'm', input: 'four words of text' }],
  ['/inference', inference, { model: 'm', prompt: 'four words of text' }],
  [
    '/v1/chat/completions',
    chatCompletions,
    { model: 'm', messages: [{ role: 'user', content: 'four words of text' }] },
  ],
] as const

async function leave(path: string, make: (typeof surfaces)[number][1], body: object, onDisconnect?: OnDisconnect) {
  const upstream = await slowUpstream()
  const service = inferenceService({ providers: [openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl })] })
  onTestFinished(() => service.close())
  const rows: LedgerRow[] = []
  const limiter = limits({
    prices,
    rules: [{ name: 'month', measure: 'money', per: 'tenant', limit: '1', calendar: 'month' }],
  })
  const { url } = await listen(
    listener(
      as,
      limiter,
      ledger({ writer: { append: (row: LedgerRow) => void rows.push(row) } as never }),
      cost({ prices }),
      make({ service, ...(onDisconnect === undefined ? {} : { onDisconnect }) }),
      errorHandler({ log: { error() {}, warn() {} } }),
    ),
  )
  const leaving = new AbortController()
  const answer = fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: leaving.signal,
  })
  await expect.poll(() => upstream.seen.asked).toBe(1)
  leaving.abort()
  await expect(answer).rejects.toThrow()
  const standing = async () => {
    const principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
    const [month] = await limiter.standing({ headers: {}, socket: {} } as never, { principal } as never)
    return month
  }
  return { upstream, rows, standing }
}

describe.each(surfaces)('%s whose caller leaves', (path, make, body) => {
  it.each(['abort', undefined] as const)(
    'is stopped (%s), and one row has what the input is taken for',
    async (how) => {
      const { upstream, rows, standing } = await leave(path, make, body, how)
      await expect.poll(() => upstream.seen.closed).toBe(1)
      await expect.poll(() => rows).toHaveLength(1)
      const [row] = rows
      expect(row).toMatchObject({ outcome: 'aborted', status: 499, usage: { estimated: true, outputTokens: 0 } })
      expect(row?.usage?.inputTokens).toBeGreaterThan(3)
      expect(row?.costNanoUsd).toBe((row?.usage?.inputTokens ?? 0) * 1_000)
      await expect.poll(standing).toMatchObject({ used: row?.costNanoUsd, held: 0 })
    },
  )

  it('comes to its end with drain, and one row has what the upstream says', async () => {
    const { upstream, rows, standing } = await leave(path, make, body, 'drain')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect([upstream.seen.closed, rows.length]).toEqual([0, 0])
    upstream.letGo()
    await expect.poll(() => rows).toHaveLength(1)
    expect(upstream.seen).toEqual({ asked: 1, answered: 1, closed: 0 })
    expect(rows[0]).toMatchObject({ outcome: 'aborted', status: 499, costNanoUsd: 1_000_000 })
    expect(rows[0]?.usage).toMatchObject({ inputTokens: 1_000, estimated: false })
    await expect.poll(standing).toMatchObject({ used: 1_000_000, held: 0 })
  })
})
