import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { listener } from '../http/handler.js'
import { errorHandler } from '../middleware/error-handler.js'
import type { Readiness } from '../wire/health.js'
import { readiness, readyRoute } from './ready.js'

const read = async (url: string) => {
  const response = await fetch(url)
  return { code: response.status, ...((await response.json()) as Readiness) }
}

eachHost((host) => {
  it('is ready when models are loaded, until it drains', async () => {
    let loaded: () => void = () => {}
    const state = readiness({
      waitFor: {
        models: () =>
          new Promise<void>((resolve) => {
            loaded = resolve
          }),
      },
    })
    const { url } = await host.start(['/ready', readyRoute(state)], errorHandler())
    expect(await read(`${url}/ready`)).toEqual({ code: 503, status: 'loading', checks: { models: 'pending' } })
    loaded()
    await vi.waitFor(
      async () => expect(await read(`${url}/ready`)).toEqual({ code: 200, status: 'ready', checks: { models: 'ok' } }),
      10_000,
    )
    state.draining = true
    expect(await read(`${url}/ready`)).toEqual({ code: 503, status: 'draining', checks: { models: 'ok' } })
    expect((await fetch(`${url}/ready`, { method: 'POST' })).status).toBe(405)
  })
})

describe('checks', () => {
  it('fail by throwing, rejecting, answering false and taking too long; callers are told the name only', async () => {
    const onFailure = vi.fn()
    const state = readiness({
      checks: {
        throws: () => {
          throw new Error('host db.internal')
        },
        rejects: async () => Promise.reject(new Error('password wrong')),
        denies: () => false,
        hangs: () => new Promise(() => {}),
        works: () => undefined,
      },
      checkTimeoutMs: 10,
      onFailure,
    })
    const { url } = await listen(listener(readyRoute(state)))
    const expected = {
      code: 503,
      status: 'failed',
      checks: { throws: 'failed', rejects: 'failed', denies: 'failed', hangs: 'failed', works: 'ok' },
    }
    expect(await read(url)).toEqual(expected)
    expect(await read(url)).toEqual(expected)
    expect(onFailure.mock.calls.map(([name, error]) => [name, (error as Error).message])).toEqual([
      ['throws', 'host db.internal'],
      ['denies', 'It returned false.'],
      ['rejects', 'password wrong'],
      ['hangs', 'No answer within 10 ms.'],
    ])
  })

  it('are run once for all who ask meanwhile, and again for those who ask later', async () => {
    let finish: (() => void) | undefined
    const check = vi.fn(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve
        }),
    )
    const state = readiness({ checks: { database: check } })
    const asked = [state.read(), state.read(), state.read()]
    finish?.()
    expect(await Promise.all(asked)).toEqual(Array(3).fill({ status: 'ready', checks: { database: 'ok' } }))
    expect(check).toHaveBeenCalledOnce()
    const later = state.read()
    finish?.()
    await later
    expect(check).toHaveBeenCalledTimes(2)
  })

  it('recover', async () => {
    const check = vi.fn().mockRejectedValueOnce(new Error('down')).mockResolvedValue(true)
    const onFailure = vi.fn()
    const state = readiness({ checks: { database: check }, onFailure })
    expect((await state.read()).status).toBe('failed')
    expect((await state.read()).status).toBe('ready')
    expect(onFailure).toHaveBeenCalledOnce()
  })
})

it('stays unready where what it waits for fails', async () => {
  const onFailure = vi.fn()
  const state = readiness({ waitFor: { models: async () => Promise.reject(new Error('no file')) }, onFailure })
  await vi.waitFor(
    () => expect(onFailure).toHaveBeenCalledWith('models', expect.objectContaining({ message: 'no file' })),
    10_000,
  )
  expect(await state.read()).toEqual({ status: 'failed', checks: { models: 'failed' } })
})

it('refuses options it does not know', () => {
  expect(() => readiness({ checks: { a: true } } as never)).toThrow(/a function/)
  expect(() => readiness({ check: {} } as never)).toThrow(/check/)
})
