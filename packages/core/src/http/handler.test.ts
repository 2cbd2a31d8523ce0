import type { IncomingMessage } from 'node:http'
import { describe, expect, it, vi } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { contextOf } from './context.js'
import { compose, endpoint, type Handler, listener, middleware, type Next } from './handler.js'

const hello = endpoint('hello', (_context, _req, res) => void res.end('hello'))

eachHost((host) => {
  it('goes on after a synchronous and an asynchronous run', async () => {
    const seen: string[] = []
    const { url } = await host.start(
      middleware('first', () => void seen.push('first')),
      middleware('second', async () => void seen.push('second')),
      hello,
    )
    expect(await (await fetch(url)).text()).toBe('hello')
    expect(seen).toEqual(['first', 'second'])
  })

  it.each([
    [
      'a synchronous throw',
      () => {
        throw new TollgateError('forbidden', 'no')
      },
    ],
    [
      'an asynchronous throw',
      async () => {
        throw new TollgateError('forbidden', 'no')
      },
    ],
  ])('answers %s with the status and headers of the error, with no error handler mounted', async (_name, run) => {
    const { url } = await host.start(middleware('refuses', run), hello)
    expect((await fetch(url)).status).toBe(403)
    expect((await fetch(url)).status).toBe(403)
  })

  it('answers an endpoint that rejects with undefined as an error, not as a hang', async () => {
    const { url } = await host.start(endpoint('odd', async () => Promise.reject(undefined)))
    expect((await fetch(url)).status).toBe(500)
  })

  it('does not go on once a run has answered', async () => {
    const after = vi.fn()
    const { url } = await host.start(
      middleware('answers', async (_context, _req, res) => void res.end('done')),
      middleware('after', after),
    )
    expect(await (await fetch(url)).text()).toBe('done')
    expect(after).not.toHaveBeenCalled()
  })

  it('echoes a well formed request id and replaces any other', async () => {
    const { url } = await host.start(hello)
    const echoed = await fetch(url, { headers: { 'x-request-id': 'abc-123' } })
    expect(echoed.headers.get('x-request-id')).toBe('abc-123')
    for (const bad of ['a b', 'x'.repeat(129), 'quote"d', 'a,b']) {
      const replaced = await fetch(url, { headers: { 'x-request-id': bad } })
      expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    }
  })
})

describe('middleware', () => {
  it('has its name, for stacks', () => {
    expect(middleware('rateLimit', () => {}).name).toBe('rateLimit')
  })

  it('shares one context with a second copy of the package', async () => {
    const copy = (await import('./context.js' + '?copy')) as typeof import('./context.js')
    expect(copy.contextOf).not.toBe(contextOf)
    const seen: unknown[] = []
    const { url } = await (await import('../../test/hosts.js')).listen(
      listener(
        middleware('ours', (context) => {
          context.route = '/seen'
          seen.push(context)
        }),
        ((req, res, next) => {
          seen.push(copy.contextOf(req, res))
          next()
        }) satisfies Handler,
        hello,
      ),
    )
    await (await fetch(url)).text()
    expect(seen[1]).toBe(seen[0])
  })
})

describe('compose', () => {
  const req = {} as IncomingMessage

  it('skips to the error handler and leaves through next what none takes', () => {
    const next = vi.fn()
    const skipped = vi.fn()
    const error = new Error('x')
    compose(
      (_req: unknown, _res: unknown, go: Next) => go(error),
      (_req: unknown, _res: unknown, go: Next) => {
        skipped()
        go()
      },
      (caught: unknown, _req: unknown, _res: unknown, go: Next) => go(caught),
    )(req, {} as never, next)
    expect(skipped).not.toHaveBeenCalled()
    expect(next).toHaveBeenCalledExactlyOnceWith(error)
  })

  it('goes on once though a handler calls next twice', () => {
    const next = vi.fn()
    compose((_req: unknown, _res: unknown, go: Next) => {
      go()
      go()
    })(req, {} as never, next)
    expect(next).toHaveBeenCalledOnce()
  })
})
