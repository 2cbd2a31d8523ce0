import { type IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { addRateLimitReports, type LimitState, rateLimitFields, rateLimitPolicy } from './rate-limit-fields.js'

const policy = rateLimitPolicy({ name: 'rpm', limit: 10, windowMs: 60_000, burst: 10 })
const tokens = rateLimitPolicy({ name: 'tpm', limit: 90_000, windowMs: 60_000, burst: 90_000, unit: 'tokens' })
const passed: LimitState = { allowed: true, remaining: 9, resetMs: 6000, retryAfterMs: 0 }
const last: LimitState = { allowed: true, remaining: 0, resetMs: 59_500, retryAfterMs: 0 }
const refused: LimitState = { allowed: false, remaining: 0, resetMs: 60_000, retryAfterMs: 6000 }
const never: LimitState = { allowed: false, remaining: 0, resetMs: 0, retryAfterMs: Number.POSITIVE_INFINITY }

afterEach(() => void vi.restoreAllMocks())

/** A strict reader of the lists that draft-11 uses (RFC 9651: strings with integer and string parameters). */
function parseList(field: string): { name: string; parameters: Record<string, number | string> }[] {
  const item = /"((?:[^"\\]|\\["\\])*)"((?:;[a-z*][a-z0-9_.*-]*=(?:\d{1,15}|"[ !#-[\]-~]*"))*)(?:, ?|$)/y
  const found = []
  while (item.lastIndex < field.length) {
    const match = item.exec(field)
    if (match === null) throw new Error(`malformed: ${field}`)
    const pairs = [...(match[2] ?? '').matchAll(/;([^=]+)=(?:(\d+)|"([^"]*)")/g)]
    found.push({
      name: match[1] ?? '',
      parameters: Object.fromEntries(
        pairs.map(([, name, number, text]) => [name, number === undefined ? (text ?? '') : Number(number)]),
      ),
    })
  }
  return found
}

describe('rateLimitFields', () => {
  it.each([
    ['draft-11', { 'ratelimit-policy': '"rpm";q=10;w=60', ratelimit: '"rpm";r=9;t=6' }],
    ['draft-7', { 'ratelimit-policy': '10;w=60', ratelimit: 'limit=10, remaining=9, reset=6' }],
    [
      'draft-6',
      { 'ratelimit-policy': '10;w=60', 'ratelimit-limit': '10', 'ratelimit-remaining': '9', 'ratelimit-reset': '6' },
    ],
    ['x-ratelimit', { 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '9', 'x-ratelimit-reset': '1700000007' }],
    [
      'openai',
      { 'x-ratelimit-limit-requests': '10', 'x-ratelimit-remaining-requests': '9', 'x-ratelimit-reset-requests': '6s' },
    ],
  ] as const)('%s', (style, fields) => {
    vi.spyOn(Date, 'now').mockReturnValue(1_700_000_000_001)
    expect(rateLimitFields([style], [{ policy, state: passed }])).toEqual(fields)
  })

  it('several styles at once', () => {
    expect(
      Object.keys(rateLimitFields(['draft-11', 'openai', 'x-ratelimit'], [{ policy, state: passed }])),
    ).toHaveLength(8)
    expect(rateLimitFields(['draft-11', 'draft-6'], [{ policy, state: passed }])).toMatchObject({
      'ratelimit-policy': '"rpm";q=10;w=60',
      'ratelimit-limit': '10',
    })
  })

  it('tells a caller with nothing left when one unit is back, not when all are', () => {
    expect(rateLimitFields(['draft-11'], [{ policy, state: last }])['ratelimit']).toBe('"rpm";r=0;t=6')
    expect(rateLimitFields(['draft-6'], [{ policy, state: last }])['ratelimit-reset']).toBe('6')
    expect(rateLimitFields(['draft-11'], [{ policy, state: refused }])['ratelimit']).toBe('"rpm";r=0;t=6')
  })

  it('never outlasts retryAfterMs on a refusal', () => {
    for (const [limit, used] of [
      [900, 900],
      [7, 7],
      [1000, 999.4],
      [3, 2.7],
    ] as const) {
      const unitMs = 60_000 / limit
      const state = {
        allowed: false,
        remaining: 0,
        resetMs: Math.ceil(used * unitMs),
        retryAfterMs: Math.ceil((used + 1 - limit) * unitMs),
      }
      const of = rateLimitPolicy({ name: 'rpm', limit, windowMs: 60_000, burst: limit })
      const t = parseList(rateLimitFields(['draft-11'], [{ policy: of, state }])['ratelimit'] ?? '')[0]?.parameters['t']
      expect(t).toBeLessThanOrEqual(Math.ceil(state.retryAfterMs / 1000))
    }
  })

  it('leaves out a time that will never come', () => {
    expect(rateLimitFields(['draft-11'], [{ policy, state: never }])['ratelimit']).toBe('"rpm";r=0')
    expect(rateLimitFields(['openai'], [{ policy, state: never }])['retry-after-ms']).toBeUndefined()
  })

  it('tells units, bursts and windows as far as the field can', () => {
    const item = (options: Parameters<typeof rateLimitPolicy>[0]) => rateLimitPolicy(options).item
    expect(item({ name: 'tpm', limit: 90_000, windowMs: 60_000, burst: 1000, unit: 'tokens' })).toBe(
      '"tpm";q=90000;tollgate-unit="tokens";w=60;tollgate-burst=1000',
    )
    expect(item({ name: 'places', limit: 5, unit: 'concurrent-requests' })).toBe(
      '"places";q=5;qu="concurrent-requests"',
    )
    expect(item({ name: 'fast', limit: 5, windowMs: 500, burst: 5 })).toBe('"fast";q=5')
    expect(item({ name: 'huge', limit: 9e15, windowMs: 1000 })).toBe('"huge";q=999999999999999;w=1')
    expect(item({ name: 'part', limit: 0.5, windowMs: 1000 })).toBe('"part";q=0;w=1')
  })

  it('reads back as structured fields', () => {
    const reports = [
      { policy, state: passed },
      { policy: tokens, state: refused },
    ]
    const fields = rateLimitFields(['draft-11'], reports)
    expect(parseList(fields['ratelimit-policy'] ?? '')).toEqual([
      { name: 'rpm', parameters: { q: 10, w: 60 } },
      { name: 'tpm', parameters: { q: 90_000, 'tollgate-unit': 'tokens', w: 60 } },
    ])
    expect(parseList(fields['ratelimit'] ?? '').map(({ name, parameters }) => [name, parameters['r']])).toEqual([
      ['rpm', 9],
      ['tpm', 0],
    ])
  })

  it.each([
    [120, '120ms'],
    [1500, '1.5s'],
    [59_999.2, '1m0s'],
    [360_000, '6m0s'],
    [3_661_001, '1h1m1.001s'],
    [0, '0s'],
  ])('openai: %d ms is %s', (resetMs, text) => {
    const state = { allowed: true, remaining: 1, resetMs, retryAfterMs: 0 }
    expect(rateLimitFields(['openai'], [{ policy, state }])['x-ratelimit-reset-requests']).toBe(text)
  })

  it('openai: tells each unit apart, and the wait of a refusal', () => {
    const reports = [
      { policy, state: passed },
      { policy: tokens, state: { ...refused, retryAfterMs: 1234 } },
    ]
    expect(rateLimitFields(['openai'], reports)).toMatchObject({
      'x-ratelimit-remaining-requests': '9',
      'x-ratelimit-remaining-tokens': '0',
      'retry-after-ms': '1234',
    })
  })

  it.each(['a b', 'a"b', '', 'é', 'x'.repeat(65), 'a\r\nb'])('refuses the name %j', (name) => {
    expect(() => rateLimitPolicy({ name, limit: 1 })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })
})

describe('addRateLimitReports', () => {
  const response = () => new ServerResponse({ method: 'GET' } as IncomingMessage)

  it('keeps what other limits have told, and the tightest where there is room for one', () => {
    const res = response()
    addRateLimitReports(res, ['draft-11', 'x-ratelimit'], [{ policy: tokens, state: { ...passed, remaining: 1 } }])
    const fields = addRateLimitReports(res, ['draft-11', 'x-ratelimit'], [{ policy, state: passed }])
    expect(res.getHeader('ratelimit-policy')).toBe('"tpm";q=90000;tollgate-unit="tokens";w=60, "rpm";q=10;w=60')
    expect(res.getHeader('x-ratelimit-remaining')).toBe('1')
    expect(res.getHeader('ratelimit')).toBe(fields['ratelimit'])
  })

  it('replaces what the same limit told before', () => {
    const res = response()
    addRateLimitReports(res, ['draft-11'], [{ policy, state: last }])
    addRateLimitReports(res, ['draft-11'], [{ policy, state: passed }])
    expect(res.getHeader('ratelimit')).toBe('"rpm";r=9;t=6')
  })

  it('leaves a response alone whose headers are out', () => {
    const res = response()
    res.flushHeaders()
    expect(addRateLimitReports(res, ['draft-11'], [{ policy, state: passed }])).toHaveProperty('ratelimit')
    expect(res.hasHeader('ratelimit')).toBe(false)
  })
})
