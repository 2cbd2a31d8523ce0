import { setTimeout as wait } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import { contextOf } from '../src/http/context.js'
import { endpoint, type Handler } from '../src/http/handler.js'
import { dispatching, recordAttempt, recordUsage } from '../src/http/record-usage.js'
import { sendJson } from '../src/http/respond.js'
import { cost } from '../src/middleware/cost.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { type LimitEvent, type LimitRule, type Limits, type LimitsOptions, limits } from '../src/middleware/limits.js'
import { priceTable } from '../src/price-table.js'
import type { Principal } from '../src/principal.js'
import { type Host, hosts } from './hosts.js'

export const prices = priceTable({
  list: false,
  overrides: {
    'p/small': { usdPerMillionTokens: { input: '1', output: '2' } },
    'p/large': { usdPerMillionTokens: { input: '100', output: '200' } },
    small: { usdPerMillionTokens: { input: '1', output: '2' } },
  },
})
const people: Record<string, Principal> = {
  ada: { tenant: 'acme', team: 'research', subject: 'ada', method: 'jwt', keyId: 'k1', tier: 'pro', scopes: [] },
  bob: { tenant: 'acme', subject: 'bob', method: 'jwt', tier: 'free', scopes: [] },
  eve: { tenant: 'globex', subject: 'eve', method: 'jwt', scopes: [] },
  odd: {
    tenant: 'acme',
    subject: 'odd',
    method: 'jwt',
    scopes: [],
    limits: { rpm: 1e300, day: '1e30', tokens: 'many' },
  },
  vip: { tenant: 'acme', subject: 'vip', method: 'jwt', scopes: [], limits: { rpm: 5, day: '0.5' } },
}
export const host = hosts[3] as Host

/** Whoever `x-as` names. */
export const as: Handler = (req, res, next) => {
  contextOf(req, res).principal = people[String(req.headers['x-as'])]
  next()
}

/** Calls the model that a header names, uses what another says, and answers how a third wants it. */
export const model: Handler = endpoint('model', async (context, req, res) => {
  const header = (name: string) => req.headers[name] as string | undefined
  const name = header('x-model')
  if (name !== undefined) {
    await dispatching(context, { provider: 'p', model: name })
    const fallback = header('x-fallback')
    const spent = header('x-spent')
    if (spent !== undefined) {
      const [input, output] = spent.split('/').map(Number)
      const usage = { inputTokens: input ?? 0, outputTokens: output ?? 0, estimated: true }
      recordAttempt(req, { provider: 'p', model: name, usage })
    }
    if (fallback !== undefined) await dispatching(context, { provider: 'p', model: fallback })
    await wait(Number(header('x-wait') ?? 0))
    const [input, output] = (header('x-usage') ?? '').split('/').map(Number)
    if (output !== undefined) {
      const usage = { inputTokens: input ?? 0, outputTokens: output, estimated: false }
      recordUsage(req, { provider: 'p', model: fallback ?? name, usage })
    }
  }
  sendJson(res, Number(header('x-status') ?? 200), { ok: true })
})

interface Asking {
  readonly who?: string
  readonly model?: string
  readonly fallback?: string
  /** What the first model used before it failed. */
  readonly spent?: string
  readonly usage?: string
  readonly wait?: number
  readonly status?: number
  readonly body?: unknown
}

/** The model under rules, on node:http unless told otherwise; `used` and `soon` are of what is used and held, in the units of the rule. */
export async function start(rules: readonly LimitRule[], options: Partial<LimitsOptions> = {}, on: Host = host) {
  const events: LimitEvent[] = []
  const limiter: Limits = limits({ rules, prices, onEvent: (event) => events.push(event), ...options })
  onTestFinished(() => limiter.close())
  const standing: Handler = endpoint('standing', async (context, req, res) => {
    sendJson(res, 200, await limiter.standing(req, context))
  })
  const { url } = await on.start(
    as,
    ['/standing', standing],
    limiter,
    cost({ prices, unknownPrice: 'allow' }),
    model,
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  const ask = async ({ who = 'ada', model: name, fallback, spent, usage, wait: ms, status, body }: Asking = {}) => {
    const entries = {
      'x-as': who,
      'x-model': name,
      'x-fallback': fallback,
      'x-spent': spent,
      'x-usage': usage,
      'x-wait': ms,
      'x-status': status,
    }
    const given = Object.entries(entries).filter(([, value]) => value !== undefined)
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        ...Object.fromEntries(given.map(([key, value]) => [key, String(value)])),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Record<string, unknown>,
    }
  }
  const used = async (rule: string, who = 'ada') => {
    const response = await fetch(`${url}/standing`, { headers: { 'x-as': who } })
    const all = (await response.json()) as Array<{ rule: string; used: number; held: number }>
    const found = all.find((each) => each.rule === rule)
    return found === undefined ? undefined : [Math.round(found.used), Math.round(found.held)]
  }
  /** Settling goes on behind the answer. */
  const soon = async (rule: string, wanted: readonly number[], who = 'ada') =>
    expect.poll(() => used(rule, who), { timeout: 5_000 }).toEqual(wanted)
  return { ask, used, soon, events, limiter, url }
}

export const prompt = (text: string, more: object = {}) => ({
  model: 'small',
  messages: [{ role: 'user', content: text }],
  ...more,
})
