import { isIPv4 } from 'node:net'

/** An address as eight groups of 16 bits; IPv4 in its mapped form, `::ffff:a.b.c.d`, so that one comparison serves both. */
export type AddressGroups = readonly number[]

/** Longest text that is looked at: the longest address and a zone id. */
const longestText = 128

/**
 * Reads an IPv4 or IPv6 address, without port. Zone ids (`%eth0`) are dropped; `undefined` for anything else.
 */
export function parseAddress(text: string): AddressGroups | undefined {
  if (text.length > longestText) return undefined
  if (!text.includes(':')) return isIPv4(text) ? [0, 0, 0, 0, 0, 0xffff, ...ipv4Groups(text)] : undefined
  const zone = text.indexOf('%')
  // A zone needs a name, of characters that occur in names of interfaces.
  if (zone !== -1 && !/^[\w.:~-]+$/.test(text.slice(zone + 1))) return undefined
  return parseIpv6(text, zone === -1 ? text.length : zone)
}

/** The one text of an address: dotted for IPv4 and mapped IPv4, else lower case with the longest run of zeros left out (RFC 5952). */
export function formatAddress(groups: AddressGroups): string {
  if (isMappedIpv4(groups)) return dotted(groups)
  let start = -1
  let length = 1
  for (let index = 0; index < 8; ) {
    let end = index
    while (end < 8 && groups[end] === 0) end += 1
    if (end - index > length) {
      start = index
      length = end - index
    }
    index = end + 1
  }
  let text = ''
  for (let index = 0; index < 8; index += 1) {
    if (index === start) {
      text += '::'
      index += length - 1
    } else {
      text += (text === '' || text.endsWith(':') ? '' : ':') + (groups[index] as number).toString(16)
    }
  }
  return text
}

/** Is this an IPv4 address in its mapped form? */
export function isMappedIpv4(groups: AddressGroups): boolean {
  for (let index = 0; index < 5; index += 1) if (groups[index] !== 0) return false
  return groups[5] === 0xffff
}

/** The first `bits` bits, the others cleared. */
export function maskAddress(groups: AddressGroups, bits: number): AddressGroups {
  return groups.map((group, index) => {
    const kept = Math.min(16, Math.max(0, bits - index * 16))
    return group & (0xffff << (16 - kept)) & 0xffff
  })
}

/** The bare address of `1.2.3.4:80`, `[::1]`, `[::1]:80` or of one without port; `undefined` if brackets or port are malformed. */
export function withoutPort(text: string): string | undefined {
  if (text.startsWith('[')) return /^\[([^\]]+)\](?::\d{1,5})?$/.exec(text)?.[1]
  const colon = text.indexOf(':')
  if (colon === -1 || colon !== text.lastIndexOf(':')) return text
  return /^\d{1,5}$/.test(text.slice(colon + 1)) ? text.slice(0, colon) : undefined
}

// By hand, as the expression behind `net.isIPv6` costs more than all the rest of a limiter.
function parseIpv6(text: string, end: number): AddressGroups | undefined {
  const groups: number[] = []
  let gap = -1
  let index = 0
  if (text.startsWith('::')) {
    gap = 0
    index = 2
  }
  while (index < end) {
    let value = 0
    let digits = 0
    const start = index
    for (; index < end; index += 1) {
      const digit = hexDigit(text.charCodeAt(index))
      if (digit === -1) break
      value = value * 16 + digit
      digits += 1
    }
    if (text[index] === '.' && index < end) {
      const dotted = text.slice(start, end)
      if (!isIPv4(dotted)) return undefined
      groups.push(...ipv4Groups(dotted))
      index = end
      break
    }
    if (digits === 0 || digits > 4 || groups.length === 8) return undefined
    groups.push(value)
    if (index === end) break
    if (text[index] !== ':') return undefined
    index += 1
    if (index === end) return undefined
    if (text[index] === ':') {
      if (gap !== -1) return undefined
      gap = groups.length
      index += 1
    }
  }
  if (gap === -1) return groups.length === 8 ? groups : undefined
  if (groups.length > 7) return undefined
  groups.splice(gap, 0, ...zeros.slice(groups.length))
  return groups
}

const zeros: readonly number[] = [0, 0, 0, 0, 0, 0, 0, 0]

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  const letter = code | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

function ipv4Groups(text: string): [number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

function dotted(groups: AddressGroups): string {
  const [high = 0, low = 0] = groups.slice(6)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}
