const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const time = '(?<h>[01]\\d|2[0-3]):(?<m>[0-5]\\d):(?<s>[0-5]\\d|60)'
const month = `(?<month>${months.join('|')})`
const forms = [
  // Sun, 06 Nov 1994 08:49:37 GMT
  new RegExp(`^[A-Z][a-z]{2}, (?<day>\\d{2}) ${month} (?<year>\\d{4}) ${time} GMT$`),
  // Sunday, 06-Nov-94 08:49:37 GMT
  new RegExp(`^[A-Z][a-z]{5,8}, (?<day>\\d{2})-${month}-(?<year>\\d{2}) ${time} GMT$`),
  // Sun Nov  6 08:49:37 1994: UTC too, which `Date.parse` would take for local time, as it takes junk with a number in it for a date.
  new RegExp(`^[A-Z][a-z]{2} ${month} (?<day>[ \\d]\\d) ${time} (?<year>\\d{4})$`),
]

/** A date in one of HTTP's three forms (RFC 9110, 5.6.7), milliseconds since the epoch; `undefined` if it is none. */
export function parseHttpDate(text: string, nowMs: number): number | undefined {
  for (const form of forms) {
    const parts = form.exec(text.trim())?.groups
    if (parts === undefined) continue
    let year = Number(parts['year'])
    if (parts['year']?.length === 2) {
      const thisYear = new Date(nowMs).getUTCFullYear()
      year += thisYear - (thisYear % 100)
      // More than 50 years ahead is the last year past with these digits.
      if (year > thisYear + 50) year -= 100
    }
    const [day, hour, minute, second] = ['day', 'h', 'm', 's'].map((part) => Number(parts[part]))
    return Date.UTC(year, months.indexOf(parts['month'] ?? ''), day, hour, minute, second)
  }
  return undefined
}
