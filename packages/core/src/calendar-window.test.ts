import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CalendarUnit, calendarWindows } from './calendar-window.js'

const zones = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Asia/Kolkata',
  'Australia/Lord_Howe',
  'America/Sao_Paulo',
  'Pacific/Apia',
  'Africa/Casablanca',
  'Asia/Beirut',
]
const at = (text: string) => Date.parse(text)
const shown = ({ startsAt, endsAt }: { startsAt: number; endsAt: number }) => [
  new Date(startsAt).toISOString(),
  new Date(endsAt).toISOString(),
]

describe('calendarWindows', () => {
  it.each<[CalendarUnit, string, string, string, string]>([
    ['month', 'UTC', '2026-02-10T00:00:00Z', '2026-02-01T00:00:00.000Z', '2026-03-01T00:00:00.000Z'],
    ['month', 'Europe/Berlin', '2026-03-31T21:59:59Z', '2026-02-28T23:00:00.000Z', '2026-03-31T22:00:00.000Z'],
    ['month', 'Europe/Berlin', '2026-03-31T22:00:00Z', '2026-03-31T22:00:00.000Z', '2026-04-30T22:00:00.000Z'],
    // 23 and 25 hours.
    ['day', 'Europe/Berlin', '2026-03-29T12:00:00Z', '2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z'],
    ['day', 'Europe/Berlin', '2026-10-25T12:00:00Z', '2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z'],
    // A midnight that the clocks skip, and a day that a whole country skipped.
    ['day', 'America/Sao_Paulo', '2018-11-04T12:00:00Z', '2018-11-04T03:00:00.000Z', '2018-11-05T02:00:00.000Z'],
    ['day', 'Pacific/Apia', '2011-12-31T12:00:00Z', '2011-12-31T10:00:00.000Z', '2012-01-01T10:00:00.000Z'],
    ['week', 'UTC', '2026-11-29T23:59:59.999Z', '2026-11-23T00:00:00.000Z', '2026-11-30T00:00:00.000Z'],
    ['week', 'UTC', '2026-11-30T00:00:00Z', '2026-11-30T00:00:00.000Z', '2026-12-07T00:00:00.000Z'],
    ['year', 'Asia/Kolkata', '2026-12-31T18:29:59Z', '2025-12-31T18:30:00.000Z', '2026-12-31T18:30:00.000Z'],
    ['hour', 'Asia/Kolkata', '2026-01-01T00:10:00Z', '2025-12-31T23:30:00.000Z', '2026-01-01T00:30:00.000Z'],
  ])('the %s in %s around %s', (unit, zone, now, startsAt, endsAt) => {
    expect(shown(calendarWindows(unit, zone)(at(now)))).toEqual([startsAt, endsAt])
  })

  it('holds the time it is asked for, and windows follow one another without a gap', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<CalendarUnit>('hour', 'day', 'week', 'month', 'year'),
        fc.constantFrom(...zones),
        fc.integer({ min: at('2015-01-01T00:00:00Z'), max: at('2036-01-01T00:00:00Z') }),
        (unit, zone, now) => {
          const windowOf = calendarWindows(unit, zone)
          const window = windowOf(now)
          expect(window.startsAt).toBeLessThanOrEqual(now)
          expect(window.endsAt).toBeGreaterThan(now)
          expect(windowOf(window.endsAt).startsAt).toBe(window.endsAt)
          expect(windowOf(window.startsAt)).toEqual(window)
          expect(windowOf(window.startsAt - 1).endsAt).toBe(window.startsAt)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('refuses a time zone that nobody knows', () => {
    expect(() => calendarWindows('day', 'Europe/Atlantis')).toThrow(/Europe\/Atlantis/)
  })
})
