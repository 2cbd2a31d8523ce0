import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AwsCredentials, awsEnvironment, keptCredentials } from './aws-credentials.js'

const keys = { accessKeyId: 'AKID', secretAccessKey: 'secret' }

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }))
afterEach(() => void vi.useRealTimers())

/** A source that numbers what it gives. */
function source(lifeMs: number | undefined) {
  let count = 0
  return vi.fn(async (): Promise<AwsCredentials> => {
    count += 1
    const end = lifeMs === undefined ? {} : { expiration: new Date(Date.now() + lifeMs) }
    return { ...keys, sessionToken: `t${count}`, ...end }
  })
}

const tokenOf = async (get: ReturnType<typeof keptCredentials>) => (await get()).sessionToken

describe('keptCredentials', () => {
  it('asks once for all that wait, and keeps what it got', async () => {
    const from = source(3_600_000)
    const get = keptCredentials(from)
    expect(await Promise.all([tokenOf(get), tokenOf(get), tokenOf(get)])).toEqual(['t1', 't1', 't1'])
    vi.setSystemTime(Date.now() + 3_299_000)
    expect(await tokenOf(get)).toBe('t1')
    expect(from).toHaveBeenCalledTimes(1)
  })

  it('fetches anew five minutes before the end, beside the requests', async () => {
    const from = source(3_600_000)
    const get = keptCredentials(from)
    await get()
    vi.setSystemTime(Date.now() + 3_301_000)
    expect(await tokenOf(get)).toBe('t1')
    await vi.waitFor(async () => expect(await tokenOf(get)).toBe('t2'), 10_000)
    expect(from).toHaveBeenCalledTimes(2)
  })

  it('goes on with those at hand while the source fails, until they end', async () => {
    const from = source(3_600_000)
    const get = keptCredentials(from)
    await get()
    from.mockRejectedValue(new Error('down'))
    vi.setSystemTime(Date.now() + 3_400_000)
    expect(await tokenOf(get)).toBe('t1')
    await vi.advanceTimersByTimeAsync(1)
    // It is not asked again by every request.
    expect(await tokenOf(get)).toBe('t1')
    expect(from).toHaveBeenCalledTimes(2)
    vi.setSystemTime(Date.now() + 200_000)
    await expect(get()).rejects.toThrow('down')
  })

  it('asks again after a failure', async () => {
    const from = source(undefined)
    from.mockRejectedValueOnce(new Error('down'))
    const get = keptCredentials(from)
    await expect(get()).rejects.toThrow('down')
    expect(await tokenOf(get)).toBe('t1')
  })

  it('asks again for those without an end every five minutes', async () => {
    const get = keptCredentials(source(undefined))
    await get()
    vi.setSystemTime(Date.now() + 299_000)
    expect(await tokenOf(get)).toBe('t1')
    vi.setSystemTime(Date.now() + 2_000)
    await get()
    await vi.waitFor(async () => expect(await tokenOf(get)).toBe('t2'), 10_000)
  })

  it('waits for no source for ever, and takes nothing that is none', async () => {
    const waiting = expect(keptCredentials(() => new Promise(() => {}))()).rejects.toThrow(/within/)
    await vi.advanceTimersByTimeAsync(10_000)
    await waiting
    await expect(keptCredentials(() => ({ accessKeyId: 'x' }) as never)()).rejects.toThrow()
  })
})

describe('awsEnvironment', () => {
  it.each([
    [{}, {}],
    [{ AWS_REGION: 'us-east-1', AWS_DEFAULT_REGION: 'us-west-2' }, { region: 'us-east-1' }],
    [{ AWS_REGION: '', AWS_DEFAULT_REGION: 'us-west-2' }, { region: 'us-west-2' }],
    [{ AWS_ACCESS_KEY_ID: 'a' }, {}],
    [
      { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
      { credentials: { accessKeyId: 'a', secretAccessKey: 'b' } },
    ],
    [
      { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_SESSION_TOKEN: 'c' },
      { credentials: { accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' } },
    ],
    [{ AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_BEARER_TOKEN_BEDROCK: 'k' }, { apiKey: 'k' }],
  ])('reads %j', (env, found) => {
    expect(awsEnvironment(env)).toEqual(found)
  })
})
