import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import { listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { noUsage } from '../usage.js'
import { contextOf, type RequestContext } from './context.js'
import { endpoint, listener } from './handler.js'
import { dispatching, onDispatch, onUsage, recordUsage } from './record-usage.js'

async function inRequest(
  run: (context: RequestContext, req: IncomingMessage, res: ServerResponse) => void | Promise<void>,
): Promise<number> {
  const { url } = await listen(
    listener(
      endpoint('run', async (context, req, res) => {
        await run(context, req, res)
        if (!res.headersSent) res.end()
      }),
    ),
  )
  return (await fetch(url)).status
}

describe('recordUsage', () => {
  it('fills the slots and tells every listener at once', async () => {
    const usage = { inputTokens: 3, outputTokens: 5, estimated: false }
    const told: unknown[] = []
    const status = await inRequest((context, req, res) => {
      onUsage(context, (each) => told.push(each.usage))
      onUsage(contextOf(req, res), (each) => told.push(each.target))
      recordUsage(req, { model: 'm', provider: 'p', version: '1', usage, upstreamMs: 12 })
      expect(context).toMatchObject({ usage, upstreamMs: 12, target: { model: 'm', provider: 'p', version: '1' } })
    })
    expect(status).toBe(200)
    expect(told).toEqual([usage, { model: 'm', provider: 'p', version: '1' }])
  })

  it('refuses what is not a usage', async () => {
    for (const inputTokens of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      const status = await inRequest((_context, req) => {
        recordUsage(req, { model: 'm', usage: { ...noUsage, inputTokens } })
      })
      expect(status).toBe(500)
    }
  })
})

describe('dispatching', () => {
  const target = { provider: 'p', model: 'm' }

  it('stays synchronous while its listeners are, and keeps their order when they are not', async () => {
    const status = await inRequest(async (context) => {
      const order: string[] = []
      expect(dispatching(context, target)).toBeUndefined()
      onDispatch(context, () => void order.push('first'))
      expect(dispatching(context, target)).toBeUndefined()
      onDispatch(context, async () => {
        await Promise.resolve()
        order.push('second')
      })
      onDispatch(context, () => void order.push('third'))
      await dispatching(context, target)
      expect(order).toEqual(['first', 'first', 'second', 'third'])
      expect(context.target).toBe(target)
    })
    expect(status).toBe(200)
  })

  it('throws what a listener throws', async () => {
    const status = await inRequest((context) => {
      onDispatch(context, () => {
        throw new TollgateError('price_unknown', 'no price')
      })
      return dispatching(context, target)
    })
    expect(status).toBe(400)
  })
})
