import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { limitWebhooks } from './middleware/limit-webhooks.js'
import { type WebhookSenderOptions, webhookSender } from './webhook-sender.js'

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const old = `whsec_${Buffer.alloc(24, 8).toString('base64')}`

/** Answers with these statuses, the last again and again. */
async function receiver(...statuses: number[]) {
  const received: Array<{ headers: IncomingHttpHeaders; body: string }> = []
  const server = createServer((req, res) => {
    let body = ''
    req.on('data', (chunk) => (body += String(chunk)))
    req.on('end', () => {
      received.push({ headers: req.headers, body })
      const status = statuses[Math.min(received.length, statuses.length) - 1] ?? 204
      if (status === 0) return
      res.writeHead(status, status === 302 ? { location: 'http://127.0.0.1:1/' } : {}).end('x'.repeat(100))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook` }
}

function make(options: Omit<WebhookSenderOptions, 'secrets'> & { secrets?: string[] }) {
  const errors: unknown[] = []
  const sender = webhookSender({
    secrets: [secret],
    retriesMs: [10, 10, 10],
    onError: (error) => errors.push(error),
    ...options,
  })
  onTestFinished(() => sender.close())
  return { sender, errors }
}

describe('webhookSender', () => {
  it('signs each message by every secret, as Standard Webhooks has it', async () => {
    const { received, url } = await receiver(204)
    const { sender } = make({ url, secrets: [secret, old], now: () => 1_700_000_000_999 })
    sender.send('limit.threshold', { rule: 'month' })
    await expect.poll(() => received.length).toBe(1)
    const { headers, body } = received[0] as (typeof received)[number]
    expect(JSON.parse(body)).toEqual({
      type: 'limit.threshold',
      timestamp: '2023-11-14T22:13:20.999Z',
      data: { rule: 'month' },
    })
    const signed = `${String(headers['webhook-id'])}.1700000000.${body}`
    const by = (key: string) =>
      createHmac('sha256', Buffer.from(key.slice(6), 'base64'))
        .update(signed)
        .digest('base64')
    expect(headers['webhook-signature']).toBe(`v1,${by(secret)} v1,${by(old)}`)
    expect(headers).toMatchObject({ 'content-type': 'application/json', 'webhook-timestamp': '1700000000' })
  })

  it.each([[500], [302], [429], [0]])('tries again after %i, under the same id', async (status) => {
    const { received, url } = await receiver(status, 200)
    const { sender, errors } = make({ url, timeoutMs: status === 0 ? 500 : 5_000 })
    sender.send('a', {})
    await expect.poll(() => received.length).toBe(2)
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
    expect(errors).toHaveLength(1)
  })

  it.each([
    [410, 1],
    [500, 4],
  ])('gives up after %i, in %i attempts', async (status, attempts) => {
    const { received, url } = await receiver(status)
    const { sender, errors } = make({ url })
    sender.send('a', {})
    await expect.poll(() => String(errors.at(-1))).toContain('given up')
    expect(received).toHaveLength(attempts)
  })

  it('has bounds, and tells what is lost', async () => {
    const { url } = await receiver(0)
    const { sender, errors } = make({ url, maxWaiting: 2 })
    for (let count = 0; count < 3; count += 1) sender.send('a', {})
    sender.send('b', { text: 'x'.repeat(21_000) })
    await sender.close(10)
    sender.send('c', {})
    expect(errors.map(String).filter((text) => text.includes('lost'))).toHaveLength(3)
  })

  it.each([
    ['http elsewhere', { url: 'http://example.com' }],
    ['no URL', { url: 'x' }],
    ['a secret of another form', { url: 'https://example.com', secrets: ['hunter2'] }],
    ['a short secret', { url: 'https://example.com', secrets: ['whsec_aGk='] }],
    ['no secret', { url: 'https://example.com', secrets: [] }],
  ])('refuses %s, without repeating it', (_name, options) => {
    expect(() => webhookSender({ secrets: [secret], ...options })).toThrow(/url|secrets/)
    expect(() => webhookSender({ secrets: [secret], ...options })).not.toThrow(/hunter2/)
  })
})

describe('limitWebhooks', () => {
  it('tells thresholds, with money as money, and a store that fails once', () => {
    const sent: unknown[] = []
    const tell = limitWebhooks({ send: (type, data) => sent.push([type, data]), close: async () => {} })
    const principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
    const of = { rule: 'month', measure: 'money', principal, requestId: 'r1' } as const
    tell({ ...of, type: 'threshold', threshold: 0.8, limit: 50_000_000_000, spent: 40_100_000_000 })
    tell({ ...of, type: 'refused', limit: 1, used: 1 })
    tell({ ...of, type: 'store-failed', policy: 'closed' })
    tell({ ...of, type: 'store-failed', policy: 'closed' })
    expect(sent).toEqual([
      [
        'limit.threshold',
        {
          rule: 'month',
          measure: 'money',
          tenant: 'acme',
          team: null,
          user: 'ada',
          threshold: 0.8,
          limit: '50',
          spent: '40.1',
          request_id: 'r1',
        },
      ],
      ['limit.store_failed', { rule: 'month', policy: 'closed' }],
    ])
  })
})
