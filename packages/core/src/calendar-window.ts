import { configInvalid } from './errors.js'

/** A part of the calendar. Weeks begin on Monday (ISO 8601). */
export type CalendarUnit = 'hour' | 'day' | 'week' | 'month' | 'year'

/** Milliseconds since the epoch; the end is the start of the next. */
export interface CalendarWindow {
  readonly startsAt: number
  readonly endsAt: number
}

const hourMs = 3_600_000
const dayMs = 86_400_000

/**
 * The hour, day, week, month or year around a time, as the clocks of a time zone have it: days of 23 and 25 hours where they are set. The last one is remembered.
 *
 * @param timeZone IANA name: `UTC`, `Europe/Berlin`
 * @throws TollgateError `config_invalid` for a time zone that this Node does not know
 * @example const monthOf = calendarWindows('month', 'Europe/Berlin'); monthOf(Date.now()).endsAt
 */
export function calendarWindows(unit: CalendarUnit, timeZone: string): (now: number) => CalendarWindow {
  const format = formatFor(timeZone)
  let last: CalendarWindow | undefined

  /** The time that the clocks show, as if they were in UTC. */
  const localOf = (time: number): number => {
    const parts = Object.fromEntries(format.formatToParts(time).map(({ type, value }) => [type, Number(value)]))
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
    return Date.UTC(year, month - 1, day, hour, minute, second)
  }
  const offsetAt = (time: number): number => {
    const second = Math.floor(time / 1000) * 1000
    return localOf(second) - second
  }
  /** The first moment at which the clocks show this or, where they skip it, more. */
  const momentOf = (local: number): number => {
    const [earlier, later] = [local - offsetAt(local - dayMs), local - offsetAt(local + dayMs)].sort((a, b) => a - b)
    return localOf(earlier as number) >= local ? (earlier as number) : (later as number)
  }

  const around = (wanted: CalendarUnit, now: number): CalendarWindow => {
    if (wanted === 'hour') {
      // Counted through from midnight, also over hours that the clocks skip or show twice.
      const day = around('day', now)
      const startsAt = day.startsAt + Math.floor((now - day.startsAt) / hourMs) * hourMs
      return { startsAt, endsAt: Math.min(startsAt + hourMs, day.endsAt) }
    }
    const start = startOf(wanted, localOf(Math.floor(now / 1000) * 1000))
    return { startsAt: momentOf(start), endsAt: momentOf(nextOf(wanted, start)) }
  }

  return (now) => {
    if (last === undefined || now < last.startsAt || last.endsAt <= now) last = around(unit, now)
    return last
  }
}

/**
 * By name only: what `+01:00` means, east or west, is not the same to JavaScript and to Postgres.
 *
 * @throws TollgateError `config_invalid` for a time zone that this Node does not know
 */
export function checkTimeZone(timeZone: string): void {
  formatFor(timeZone)
}

function formatFor(timeZone: string): Intl.DateTimeFormat {
  try {
    if (!/^[a-z]/i.test(timeZone)) throw new RangeError('not a name')
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch {
    throw configInvalid(`The time zone "${timeZone}" is not known: use a name as Europe/Berlin, or UTC.`)
  }
}

function startOf(unit: Exclude<CalendarUnit, 'hour'>, local: number): number {
  const date = new Date(local)
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
  if (unit === 'day') return Date.UTC(year, month, day)
  if (unit === 'week') return Date.UTC(year, month, day - ((date.getUTCDay() + 6) % 7))
  return unit === 'month' ? Date.UTC(year, month) : Date.UTC(year, 0)
}

function nextOf(unit: Exclude<CalendarUnit, 'hour'>, start: number): number {
  const date = new Date(start)
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
  if (unit === 'day') return Date.UTC(year, month, day + 1)
  if (unit === 'week') return Date.UTC(year, month, day + 7)
  return unit === 'month' ? Date.UTC(year, month + 1) : Date.UTC(year + 1, 0)
}
