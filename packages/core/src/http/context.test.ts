import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { listen } from '../../test/hosts.js'
import { isTollgateError } from '../errors.js'
import { abortRequest, contextOf, existingContext, type RequestContext, required } from './context.js'
import { endpoint, listener } from './handler.js'

/** Runs `see` inside a real request and gives back what it returns. */
async function inRequest<Value>(see: (context: RequestContext, req: IncomingMessage) => Value): Promise<Value> {
  let value: Value | undefined
  const { url } = await listen(
    listener(
      endpoint('see', (context, req, res) => {
        value = see(context, req)
        res.end()
      }),
    ),
  )
  await (await fetch(url)).text()
  return value as Value
}

describe('contextOf', () => {
  it('gives the same context each time, with empty slots', async () => {
    const [first, second] = await inRequest((context, req) => [context, contextOf(req, {} as never)])
    expect(second).toBe(first)
    expect(first?.principal).toBeUndefined()
    expect(first?.startedAt).toBeLessThanOrEqual(performance.now())
  })

  it('makes a signal that a reason aborts, once the caller is gone or a deadline has passed', async () => {
    const signal = await inRequest((context) => {
      expect(context.signal).toBe(context.signal)
      abortRequest(context, new Error('too late'))
      return context.signal
    })
    expect(signal.aborted).toBe(true)
    expect(signal.reason).toEqual(new Error('too late'))
  })

  it('makes an aborted signal for a caller who was gone before anyone asked', async () => {
    let told: (context: RequestContext) => void = () => {}
    const gone = new Promise<RequestContext>((resolve) => {
      told = resolve
    })
    const { url } = await listen(
      listener(
        endpoint('gone', (context, _req, res) => {
          res.once('close', () => told(context))
          res.destroy()
        }),
      ),
    )
    await fetch(url).catch(() => {})
    const context = await gone
    const { signal } = context
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    expect(isTollgateError(signal.reason, 'client_closed')).toBe(true)
  })
})

describe('existingContext and required', () => {
  it('say what to mount', async () => {
    expect(() => existingContext({ headers: {} } as IncomingMessage)).toThrowError('mount one before')
    await inRequest((context) => {
      expect(() => required(context, 'principal')).toThrowError('auth() has to come first')
      context.principal = { tenant: 'a', subject: 'b', method: 'api-key', scopes: [] }
      expect(required(context, 'principal').tenant).toBe('a')
    })
  })
})
