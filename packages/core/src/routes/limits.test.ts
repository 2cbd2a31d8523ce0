import { expect, it, onTestFinished } from 'vitest'
import { type Host, hosts } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { errorHandler } from '../middleware/error-handler.js'
import { limits } from '../middleware/limits.js'
import { priceTable } from '../price-table.js'
import { limitsRoute } from './limits.js'

it('tells how the caller stands, and whether a request would pass, and takes nothing', async () => {
  const prices = priceTable({ list: false, overrides: { m: { usdPerMillionTokens: { input: '1', output: '1' } } } })
  const limiter = limits({
    prices,
    rules: [
      { name: 'rpm', measure: 'requests', limit: 3 },
      { name: 'month', measure: 'money', limit: '0.05', calendar: 'month' },
      { name: 'places', measure: 'concurrency', limit: 2, shadow: true },
    ],
  })
  onTestFinished(() => limiter.close())
  const as: Handler = (req, res, next) => {
    contextOf(req, res).principal = { tenant: 't', subject: 's', method: 'jwt', scopes: [] }
    next()
  }
  const { url } = await (hosts[0] as Host).start(
    ['/v1/limits', as, limitsRoute({ limits: limiter })],
    ['/work', as, limiter, endpoint('work', (_context, _req, res) => sendJson(res, 200, {}))],
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  await fetch(`${url}/work`)
  for (let count = 0; count < 3; count += 1) {
    const shown = (await (await fetch(`${url}/v1/limits`)).json()) as { data: unknown[] }
    expect(shown.data).toMatchObject([
      {
        object: 'limit',
        name: 'rpm',
        measure: 'requests',
        window_ms: 60_000,
        allowed: true,
        limit: 3,
        remaining: 2,
        shadow: false,
      },
      { name: 'month', measure: 'money', limit: '0.05', used: '0', held: '0', remaining: '0.05' },
      { name: 'places', window_ms: null, limit: 2, used: 0, shadow: true },
    ])
  }
  const check = async (body: unknown) => {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${url}/v1/limits/check`, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: response.status, body: await response.json() }
  }
  expect((await check({ model: 'm', input_tokens: 10, max_output_tokens: 10 })).body).toEqual({
    object: 'limit_check',
    allowed: true,
    refused_by: [],
  })
  expect((await check({ model: 'm', input_tokens: 60_000 })).body).toMatchObject({
    allowed: false,
    refused_by: ['month'],
  })
  expect(await check({ input_tokens: -1 })).toMatchObject({ status: 400, body: { errors: [{ path: 'input_tokens' }] } })
  expect((await fetch(`${url}/v1/limits`, { method: 'POST' })).status).toBe(405)
  expect((await fetch(`${url}/v1/limits/burn`)).status).toBe(404)
  expect(() => limitsRoute({ limits: {} as never })).toThrow(/limits/)
})
