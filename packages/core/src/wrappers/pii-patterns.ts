import { isIPv6 } from 'node:net'
import { foldedText } from './folded-text.js'

/** Where something is in a text. */
export interface Found {
  readonly start: number
  readonly end: number
  /** What it is, as its placeholder says: `EMAIL`. */
  readonly kind: string
}

/** Finds all of a kind, in one pass: the time it takes grows with the length of the text and with nothing else. */
export type Finder = (text: string) => Iterable<readonly [start: number, end: number]>

// Texts are often JSON within JSON: the `n` of `\n` and the digits of `\u00a0` are no part of the word after them.
const letter = String.raw`(?<!\\(?=[bfnrt])|\\u[\da-fA-F]{3})[A-Za-z0-9]`
const noLetter = `(?<!${letter})`
const noDigit = String.raw`(?<!(?<!\\u[\da-fA-F]{3})\d)`

/** All matches of a pattern whose every part is bounded, or ends where its characters do. */
function matching(source: string, accept: (match: string) => boolean = () => true, flags = 'g'): Finder {
  const pattern = new RegExp(source, flags)
  return function* (text) {
    for (const match of text.matchAll(pattern)) {
      if (accept(match[0])) yield [match.index, match.index + match[0].length]
    }
  }
}

const domain = /@(?:[\p{L}\p{N}][\p{L}\p{N}-]{0,62}\.){1,8}(?:xn--[a-z0-9-]{2,59}|[a-z]{2,24}|\p{L}{2,24})/giu
// Of scripts that put spaces between words: in others the sentence before it would be a part of the name.
const localPart = /[\w.%+'-]|[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]/u

/** From the `@` outwards: the name before it has 64 characters at most. */
function* emails(text: string): Iterable<[number, number]> {
  for (const match of text.matchAll(domain)) {
    let start = match.index
    const least = Math.max(0, start - 64)
    while (start > least && localPart.test(text[start - 1] as string)) start -= 1
    if (text[start - 1] === '\\') start += /^u[\da-fA-F]{4}/.test(text.slice(start, start + 5)) ? 5 : 1
    while (/[.%+'-]/.test(text[start] as string)) start += 1
    if (start < match.index) yield [start, match.index + match[0].length]
  }
}

const phones = matching(
  [
    String.raw`\+(?=[\d(])(?:[ .()/-]{0,2}\d){8,15}(?!\d)`,
    String.raw`${noDigit}00(?=[1-9])(?:[ .()/-]{0,2}\d){8,15}(?!\d)`,
    String.raw`${noDigit}(?:1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\d)`,
  ].join('|'),
)

/** Groups of digits with one space, dash or no-break space between them: a card is some of them, whatever number stands before or after it. */
function* creditCards(text: string): Iterable<[number, number]> {
  let groups: Array<{ readonly digits: string; readonly start: number; readonly end: number }> = []
  for (const match of text.matchAll(/\\u[\da-fA-F]{4}|\d+/g)) {
    const [digits] = match
    if (digits.startsWith('\\')) continue
    const start = match.index
    const end = start + digits.length
    const last = groups.at(-1)
    if (last === undefined || start - last.end !== 1 || !/[ \u00a0-]/.test(text[last.end] as string)) groups = []
    groups.push({ digits: digits.length > 19 ? '' : digits, start, end })
    // A card has no more groups than digits.
    if (groups.length > 19) groups.shift()
    let number = ''
    for (const group of groups.toReversed()) {
      if (group.digits === '' || number.length + group.digits.length > 19) break
      number = group.digits + number
      if (number.length >= 13 && isCard(number)) yield [group.start, end]
    }
  }
}

/** ISO/IEC 7812: the last digit proves the others (Luhn). What begins with 0 or 1 is no bank's; times in milliseconds begin so. */
function isCard(number: string): boolean {
  if (number < '2') return false
  let sum = 0
  for (let index = 0; index < number.length; index += 1) {
    const digit = Number(number[number.length - 1 - index])
    const doubled = index % 2 === 1 ? digit * 2 : digit
    sum += doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}

/** Lengths of the IBANs of each country (ISO 13616 registry). */
const ibanLengths = new Map(
  `AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23
   IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27
   SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30`
    .trim()
    .split(/\s+/)
    .map((entry): [string, number] => [entry.slice(0, 2), Number(entry.slice(2))]),
)
const ibanStart = new RegExp(String.raw`${noLetter}[A-Za-z]{2}\d{2}`, 'g')

function* ibans(text: string): Iterable<[number, number]> {
  for (const { index: start, 0: begin } of text.matchAll(ibanStart)) {
    const length = ibanLengths.get(begin.slice(0, 2).toUpperCase())
    if (length === undefined) continue
    let end = start
    let number = ''
    while (number.length < length) {
      if (/[ \u00a0-]/.test(text[end] ?? '') && number !== '') end += 1
      const character = text[end]
      if (character === undefined || !/[A-Za-z0-9]/.test(character)) break
      number += character
      end += 1
    }
    if (number.length === length && !/[A-Za-z0-9]/.test(text[end] ?? '') && isIban(number)) yield [start, end]
  }
}

/** ISO 7064, mod 97-10: letters count from 10. */
function isIban(number: string): boolean {
  let rest = 0
  for (const character of number.slice(4) + number.slice(0, 4)) {
    const value = Number.parseInt(character, 36)
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97
  }
  return rest === 1
}

const octet = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
const ipv4 = matching(String.raw`${noDigit}(?<!\d\.)${octet}(?:\.${octet}){3}(?!\d|\.\d)`)
const ipv6 = matching(
  String.raw`(?<![:.]|${letter})(?=[\dA-Fa-f:.]{0,43}\d)[\dA-Fa-f:]{2,39}(?:(?:\.\d{1,3}){3})?(?![\dA-Za-z:])`,
  // `a::b` is a name of C++ before it is an address.
  (match) => match.length > 6 && isIPv6(match),
)

function* addresses(text: string): Iterable<readonly [number, number]> {
  yield* ipv4(text)
  yield* ipv6(text)
}

const socialSecurity = matching(
  String.raw`${noDigit}(?<!\d-)(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?!-?\d)`,
)

const keys = [
  // OpenAI, Anthropic, OpenRouter, DeepSeek and others.
  String.raw`sk-[\w-]{20,}`,
  // Tollgate.
  'tg_[a-z]{4,10}_[0-9A-Za-z]{12}_[0-9A-Za-z]{38,}',
  // Amazon.
  '(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}',
  // GitHub, GitLab, npm, Hugging Face.
  'gh[pousr]_[A-Za-z0-9]{30,}',
  String.raw`github_pat_\w{22,}`,
  String.raw`glpat-[\w-]{20,}`,
  '(?:npm|hf)_[A-Za-z0-9]{30,}',
  // Slack.
  'xox[a-z]-[A-Za-z0-9-]{10,}',
  'xapp-[A-Za-z0-9-]{10,}',
  String.raw`hooks\.slack\.com/services/[A-Za-z0-9/]{20,}`,
  // Stripe.
  '(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}',
  'whsec_[A-Za-z0-9+/=]{20,}',
  // Google.
  String.raw`AIza[\w-]{35,}`,
]
const knownKeys = matching(`${noLetter}(?:${keys.join('|')})`)
/** Of signed and of encrypted tokens (RFC 7515, 7516): the head is a JSON object, whose `{"` is `eyJ`. */
const webTokens = matching(String.raw`(?<![_-]|${letter})eyJ[\w-]{8,}\.[\w-]{2,}(?:\.[\w-]*){1,3}`)
const amazonSecrets = matching(
  String.raw`(?<=aws_secret_access_key["' ]{0,3}[=:]["' ]{0,3})[\w/+]{40}(?![\w/+=])`,
  undefined,
  'gi',
)
const keyBlock = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g

/** To its end; a block that is cut goes to the end of the text. */
function* privateKeys(text: string): Iterable<[number, number]> {
  let from = 0
  for (const { index: start, 0: head } of text.matchAll(keyBlock)) {
    if (start < from) continue
    const tail = text.indexOf('-----END ', start + head.length)
    const close = tail === -1 ? -1 : text.indexOf('-----', tail + 9)
    from = close === -1 ? text.length : close + 5
    yield [start, from]
  }
}

function* secrets(text: string): Iterable<readonly [number, number]> {
  yield* privateKeys(text)
  yield* knownKeys(text)
  yield* webTokens(text)
  yield* amazonSecrets(text)
}

/** What is known of people, by name. */
export const piiFinders = {
  email: emails,
  phone: phones,
  credit_card: creditCards,
  iban: ibans,
  ip: addresses,
  us_ssn: socialSecurity,
} as const satisfies Record<string, Finder>

export type PiiKind = keyof typeof piiFinders

export const secretFinder: Finder = secrets

/** A pattern of a user's. What it costs is theirs; a match of nothing is none. */
export function patternFinder(pattern: RegExp): Finder {
  const flags = pattern.flags.replace('y', '')
  return matching(pattern.source, (match) => match !== '', flags.includes('g') ? flags : `${flags}g`)
}

/** What all of them find, in the text as it is written and as it reads, in its order; what overlaps is one, so that no piece of it is left. */
export function findAll(text: string, finders: ReadonlyArray<readonly [kind: string, finder: Finder]>): Found[] {
  const folded = foldedText(text)
  const found = finders.flatMap(([kind, finder]) => {
    const written = Array.from(finder(text), ([start, end]): Found => ({ start, end, kind }))
    if (folded === undefined) return written
    const { origin } = folded
    const read = Array.from(finder(folded.text), ([start, end]) => ({ start: origin(start), end: origin(end), kind }))
    return [...written, ...read]
  })
  found.sort((one, other) => one.start - other.start || other.end - one.end)
  const merged: Found[] = []
  for (const each of found) {
    const last = merged.at(-1)
    if (last === undefined || each.start >= last.end) merged.push(each)
    else if (each.end > last.end) {
      const longer = each.end - each.start > last.end - last.start ? each : last
      merged[merged.length - 1] = { start: last.start, end: each.end, kind: longer.kind }
    }
  }
  return merged
}
