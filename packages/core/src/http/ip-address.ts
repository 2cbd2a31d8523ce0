import { isIPv4, isIPv6 } from 'node:net'

/** An address as eight groups of 16 bits; IPv4 in its mapped form, `::ffff:a.b.c.d`, so that one comparison serves both. */
export type AddressGroups = readonly number[]

/** Longest text that is looked at: the longest address and a zone id. */
const longestText = 128

/**
 * Reads an IPv4 or IPv6 address, without port. Zone ids (`%eth0`) are dropped; `undefined` for anything else.
 */
export function parseAddress(text: string): AddressGroups | undefined {
  if (text.length > longestText) return undefined
  if (isIPv4(text)) return [0, 0, 0, 0, 0, 0xffff, ...ipv4Groups(text)]
  if (!isIPv6(text)) return undefined
  const zone = text.indexOf('%')
  const bare = zone === -1 ? text : text.slice(0, zone)
  const gap = bare.indexOf('::')
  if (gap === -1) return groupsOf(bare)
  const head = groupsOf(bare.slice(0, gap))
  const tail = groupsOf(bare.slice(gap + 2))
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail]
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
  const hex = groups.map((group) => group.toString(16))
  if (start === -1) return hex.join(':')
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`
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

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((part) => (part.includes('.') ? ipv4Groups(part) : [Number.parseInt(part, 16)]))
}

function ipv4Groups(text: string): [number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

function dotted(groups: AddressGroups): string {
  const [high = 0, low = 0] = groups.slice(6)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}
