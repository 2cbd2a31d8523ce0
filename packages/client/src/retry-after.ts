/**
 * How long the server asks to wait, in milliseconds: `retry-after-ms` (a number) before `Retry-After` (seconds, or one of HTTP's three date
 * forms, RFC 9110, 5.6.7 and 10.2.3). 0 for a moment that has passed. `undefined` if neither says anything that can be read.
 *
 * A date is measured against the answer's own `Date` where it has one, so that a wrong clock here does not matter.
 */
export function parseRetryAfterMs(headers: Headers, nowMs: number): number | undefined {
  const milliseconds = decimal(headers.get('retry-after-ms'))
  if (milliseconds !== undefined) return milliseconds
  const field = headers.get('retry-after')
  if (field === null) return undefined
  const seconds = decimal(field)
  if (seconds !== undefined) return seconds * 1000
  const at = parseHttpDate(field, nowMs)
  if (at === undefined) return undefined
  const sent = headers.get('date')
  return Math.max(0, at - ((sent === null ? undefined : parseHttpDate(sent, nowMs)) ?? nowMs))
}

/** Digits with an optional fraction, and nothing that only `Number` would take: no sign, no exponent, no `0x`. */
function decimal(text: string | null): number | undefined {
  return text !== null && /^\s*\d+(?:\.\d+)?\s*$/.test(text) ? Number(text) : undefined
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const time = '(?<h>[01]\\d|2[0-3]):(?<m>[0-5]\\d):(?<s>[0-5]\\d|60)'
const month = `(?<month>${months.join('|')})`
const forms = [
  // Sun, 06 Nov 1994 08:49:37 GMT
  new RegExp(`^[A-Z][a-z]{2}, (?<day>\\d{2}) ${month} (?<year>\\d{4}) ${time} GMT$`),
  // Sunday, 06-Nov-94 08:49:37 GMT (RFC 850)
  new RegExp(`^[A-Z][a-z]{5,8}, (?<day>\\d{2})-${month}-(?<year>\\d{2}) ${time} GMT$`),
  // Sun Nov  6 08:49:37 1994 (asctime), which is UTC too: `Date.parse` would take it for local time
  new RegExp(`^[A-Z][a-z]{2} ${month} (?<day>[ \\d]\\d) ${time} (?<year>\\d{4})$`),
]

/** Milliseconds since the epoch, or `undefined` if it is not an HTTP date. */
export function parseHttpDate(text: string, nowMs: number): number | undefined {
  for (const form of forms) {
    const parts = form.exec(text.trim())?.groups
    if (parts === undefined) continue
    let year = Number(parts['year'])
    if (parts['year']?.length === 2) {
      const thisYear = new Date(nowMs).getUTCFullYear()
      year += thisYear - (thisYear % 100)
      // RFC 9110, 5.6.7: a two-digit year more than 50 years ahead is the latest past year with those digits.
      if (year > thisYear + 50) year -= 100
    }
    const monthIndex = months.indexOf(parts['month'] ?? '')
    return Date.UTC(year, monthIndex, Number(parts['day']), Number(parts['h']), Number(parts['m']), Number(parts['s']))
  }
  return undefined
}
