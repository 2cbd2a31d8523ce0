import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseHttpDate, parseRetryAfterMs } from './retry-after.js'

const now = Date.UTC(2026, 10, 22, 8, 0, 0)
const parse = (headers: Record<string, string>) => parseRetryAfterMs(new Headers(headers), now)

describe('parseRetryAfterMs', () => {
  it.each([
    [{ 'retry-after': '7' }, 7000],
    [{ 'retry-after': '1.5' }, 1500],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '99999999' }, 99_999_999_000],
    [{ 'retry-after': 'Sun, 22 Nov 2026 08:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Sunday, 22-Nov-26 08:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Sun Nov 22 08:00:30 2026' }, 30_000],
    [{ 'retry-after': 'Sat, 21 Nov 2026 08:00:00 GMT' }, 0],
    [{ 'retry-after': 'Sun, 22 Nov 2026 08:00:30 GMT', date: 'Sun, 22 Nov 2026 08:00:20 GMT' }, 10_000],
    [{ 'retry-after-ms': '250', 'retry-after': '7' }, 250],
    [{ 'retry-after-ms': '0', 'retry-after': '7' }, 0],
    [{ 'retry-after-ms': 'soon', 'retry-after': '7' }, 7000],
  ])('%j is %d ms', (headers, expected) => {
    expect(parse(headers as Record<string, string>)).toBe(expected)
  })

  it.each(['', 'soon', '-1', '+1', '1e3', '0x10', 'Infinity', '1,2', '2026-11-22T08:00:00Z'])('ignores %j', (text) => {
    expect(parse({ 'retry-after': text })).toBeUndefined()
  })

  it('reads back every second it wrote, in all three forms', () => {
    const second = fc.integer({ min: now / 1000, max: now / 1000 + 40 * 365 * 86_400 })
    fc.assert(
      fc.property(second, (seconds) => {
        const date = new Date(seconds * 1000)
        const imf = date.toUTCString()
        const [, day, month, year, time] = /^\w+, (\d+) (\w+) (\d+) (\S+) GMT$/.exec(imf) ?? []
        const asctime = `Sun ${month} ${Number(day).toString().padStart(2)} ${time} ${year}`
        const rfc850 = `Sunday, ${day}-${month}-${year?.slice(2)} ${time} GMT`
        for (const form of [imf, asctime, rfc850]) expect(parseHttpDate(form, now), form).toBe(seconds * 1000)
      }),
    )
  })

  it('never makes anything but a time to wait, or nothing, of any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) }),
        (text) => {
          const result = parse({ 'retry-after': text })
          expect(result === undefined || result >= 0).toBe(true)
        },
      ),
    )
  })
})
