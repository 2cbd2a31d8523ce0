import { describe, expect, it, onTestFinished } from 'vitest'
import { type Host, hosts } from '../../test/hosts.js'
import { contextOf, type RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { dispatching, endBranch, recordAttempt, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { priceTable } from '../price-table.js'
import type { Claim, LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { cost } from './cost.js'
import { errorHandler } from './error-handler.js'
import { type LimitRule, limits } from './limits.js'

const prices = priceTable({
  list: false,
  overrides: {
    'p/small': { usdPerMillionTokens: { input: '1', output: '1' } },
    'p/large': { usdPerMillionTokens: { input: '10', output: '10' } },
  },
})
/** 1,000 tokens: 0.001 USD of the small model, 0.01 of the large one. */
const estimate = () => ({ model: 'small', inputTokens: 0, maxOutputTokens: 1_000 })
const small = { provider: 'p', model: 'small' }
const large = { provider: 'p', model: 'large' }
const tokens = (outputTokens: number) => ({ inputTokens: 0, outputTokens, estimated: false })

const money: LimitRule = { name: 'money', measure: 'money', per: 'tenant', calendar: 'month', limit: '0.011' }
const places: LimitRule = { name: 'places', measure: 'concurrency', per: 'model', limit: 1 }
const perModel: LimitRule = { name: 'model', measure: 'tokens', per: 'model', calendar: 'month', limit: 1_000_000 }

type Work = (context: RequestContext, req: Parameters<Handler>[0]) => Promise<void>

/** Runs a handler under limits, with a store that takes its time for each claim of `slow`. */
async function under(
  rules: readonly LimitRule[],
  work: Work,
  slow: (claims: readonly Claim[]) => Promise<void> | undefined = () => undefined,
) {
  const store = memoryLimitStore()
  const seen = new Map<string, Claim>()
  const watched: LimitStore = {
    ...store,
    take(claims) {
      for (const claim of claims) seen.set(claim.key, claim)
      const verdict = store.take(claims)
      return slow(claims)?.then(() => verdict) ?? verdict
    },
  }
  const limiter = limits({ rules, prices, estimate, store: watched })
  onTestFinished(() => limiter.close())
  const as: Handler = (req, res, next) => {
    contextOf(req, res).principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
    next()
  }
  const { url } = await (hosts[3] as Host).start(
    as,
    limiter,
    cost({ prices }),
    endpoint('work', async (context, req, res) => {
      await work(context, req)
      sendJson(res, 200, {})
    }),
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  /** What a rule has used and holds, by the model if it is of one. */
  const state = (rule: string, model = '') => {
    const claim = [...seen.values()].find((each) => each.rule === rule && each.key.includes(model))
    const [found] = claim === undefined ? [] : store.peek([claim.kind === 'lease' ? claim : { ...claim, cost: 0 }])
    return [found?.used ?? 0, found?.held ?? 0]
  }
  const ask = async () => (await fetch(url, { method: 'POST' })).status
  return { ask, state }
}

describe('attempts beside each other', () => {
  const other = Symbol('other')

  it('hold money each for itself, and what both have used is settled', async () => {
    const held: number[][] = []
    const { ask, state } = await under([money, perModel], async (context, req) => {
      await dispatching(context, small)
      held.push(state('money'))
      await dispatching(context, large, other)
      held.push(state('money'))
      recordAttempt(req, { ...small, usage: tokens(100) })
      endBranch(context, undefined)
      // What it has used is spent, and no more of it held.
      held.push(state('model', 'small'))
      recordUsage(req, { ...large, usage: tokens(200), branch: other })
    })
    expect(await ask()).toBe(200)
    expect(held).toEqual([
      [1_000_000, 1_000_000],
      [11_000_000, 11_000_000],
      [100, 0],
    ])
    await expect.poll(() => state('money')).toEqual([100 * 1_000 + 200 * 10_000, 0])
    expect(state('model', 'small')).toEqual([100, 0])
    expect(state('model', 'large')).toEqual([200, 0])
  })

  it('are refused where there is no room for both, and the first goes on', async () => {
    let refusal: unknown
    const { ask, state } = await under([{ ...money, limit: '0.0105' }, places], async (context, req) => {
      await dispatching(context, small)
      try {
        await dispatching(context, large, other)
      } catch (error) {
        refusal = error
        endBranch(context, other)
      }
      expect(state('places', 'small')).toEqual([1, 1])
      recordUsage(req, { ...small, usage: tokens(300) })
    })
    expect(await ask()).toBe(200)
    expect(refusal).toMatchObject({ code: 'budget_exceeded' })
    await expect.poll(() => state('money')).toEqual([300_000, 0])
    expect(state('places', 'small')).toEqual([0, 0])
    expect(state('places', 'large')).toEqual([0, 0])
  })

  it('give back what comes after they are over, before the request is and after', async () => {
    let arrived = () => {}
    const slow = (claims: readonly Claim[]) =>
      claims.some(({ key }) => key.includes('large'))
        ? new Promise<void>((resolve) => {
            arrived = resolve
          })
        : undefined
    const { ask, state } = await under(
      [money, places, perModel],
      async (context, req) => {
        await dispatching(context, small)
        const pending = dispatching(context, large, other)
        endBranch(context, other)
        arrived()
        await pending
        expect(state('places', 'large')).toEqual([0, 0])
        expect(state('money')).toEqual([1_000_000, 1_000_000])
        // And one that nobody ends, as where the caller leaves.
        void dispatching(context, large, Symbol('another'))
        recordUsage(req, { ...small, usage: tokens(10) })
      },
      slow,
    )
    expect(await ask()).toBe(200)
    await expect.poll(() => state('money')[0]).toBe(10_000 + 10_000_000)
    expect(state('places', 'large')).toEqual([1, 1])
    arrived()
    await expect.poll(() => state('places', 'large')).toEqual([0, 0])
    expect(state('money')).toEqual([10_000, 0])
    expect(state('model', 'large')).toEqual([0, 0])
  })

  it('may be followed by others of their own', async () => {
    const { ask, state } = await under([{ ...money, limit: '1' }, perModel], async (context, req) => {
      await dispatching(context, large)
      await dispatching(context, small, other)
      recordAttempt(req, { ...small, usage: tokens(1), branch: other })
      await dispatching(context, large, other)
      recordAttempt(req, { ...large, usage: tokens(2), branch: other })
      await dispatching(context, small, other)
      // Each of them, and those that may still be used.
      expect(state('money')[0]).toBe(21_000 + 11_000_000)
      recordAttempt(req, { ...small, usage: tokens(4), branch: other })
      endBranch(context, other)
      recordUsage(req, { ...large, usage: tokens(8) })
    })
    expect(await ask()).toBe(200)
    await expect.poll(() => state('money')).toEqual([1_000 + 20_000 + 4_000 + 80_000, 0])
    expect(state('model', 'small')).toEqual([5, 0])
    expect(state('model', 'large')).toEqual([10, 0])
  })
})
