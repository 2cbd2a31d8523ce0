import { describe, expect, it } from 'vitest'
import { catching, hello, plain, statuses } from '../../test/rate-limited.js'
import type { TollgateError } from '../errors.js'
import type { Handler } from '../http/handler.js'
import { type RateLimitOptions, rateLimit } from './rate-limit.js'

describe('how it tells', () => {
  it('the refusal as an error with the registered problem type', async () => {
    const errors: TollgateError[] = []
    const { url } = await plain.start(rateLimit({ name: 'rpm', limit: 1 }), hello, catching(errors))
    expect(await statuses(url, 2)).toEqual([200, 429])
    expect(errors).toEqual([
      expect.objectContaining({
        code: 'rate_limited',
        retryAfterMs: expect.any(Number),
        details: {
          type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
          'violated-policies': ['rpm'],
        },
      }),
    ])
  })

  it('a limit of 0 as a refusal that no wait will mend', async () => {
    const { url } = await plain.start(rateLimit({ limit: 0 }), hello)
    const answer = await fetch(url)
    expect(answer.status).toBe(429)
    expect(answer.headers.has('retry-after')).toBe(false)
    expect(answer.headers.get('x-should-retry')).toBe('false')
    expect(answer.headers.get('ratelimit')).toBe('"requests";r=0')
  })

  it('in other styles, in several, or not at all', async () => {
    const fieldsOf = async (headers: NonNullable<RateLimitOptions['headers']>) => {
      const { url } = await plain.start(rateLimit({ limit: 1, headers }), hello)
      await fetch(url)
      const refused = await fetch(url)
      return [...refused.headers.keys()].filter((name) => /ratelimit|retry/.test(name))
    }
    expect(await fieldsOf(false)).toEqual(['retry-after'])
    expect(await fieldsOf('draft-7')).toEqual(['ratelimit', 'ratelimit-policy', 'retry-after'])
    expect(await fieldsOf(['draft-6', 'openai'])).toEqual([
      'ratelimit-limit',
      'ratelimit-policy',
      'ratelimit-remaining',
      'ratelimit-reset',
      'retry-after',
      'retry-after-ms',
      'x-ratelimit-limit-requests',
      'x-ratelimit-remaining-requests',
      'x-ratelimit-reset-requests',
    ])
  })

  it('two limits on one answer, and both on the refusal of the second', async () => {
    const { url } = await plain.start(
      rateLimit({ name: 'minute', limit: 5 }),
      rateLimit({ name: 'hour', limit: 1, windowMs: 3_600_000 }),
      hello,
    )
    await fetch(url)
    const refused = await fetch(url)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('ratelimit-policy')).toBe('"minute";q=5;w=60, "hour";q=1;w=3600')
    expect(refused.headers.get('ratelimit')).toMatch(/^"minute";r=3;t=12, "hour";r=0;t=3600$/)
  })

  it('nothing once the answer has begun', async () => {
    const errors: unknown[] = []
    const after: Handler = (req, res, next) => {
      res.writeHead(200)
      res.write('begun')
      limiter(req, res, (error) => {
        errors.push(error)
        res.end()
        void next
      })
    }
    const limiter = rateLimit({ limit: 0 })
    const { url } = await plain.start(after)
    expect(await (await fetch(url)).text()).toBe('begun')
    expect(errors).toEqual([expect.objectContaining({ code: 'rate_limited' })])
  })
})
