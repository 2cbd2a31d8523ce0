import type { IncomingMessage } from 'node:http'
import { configInvalid } from '../errors.js'
import {
  type AddressGroups,
  formatAddress,
  isMappedIpv4,
  maskAddress,
  parseAddress,
  withoutPort,
} from './ip-address.js'

/**
 * Which machines in front of this server tell the truth about who called them.
 *
 * - `false` (default): none. The address is the one of the connection; no header is read.
 * - a number: that many hops, counted from this server. Only safe if nobody can reach the server around them.
 * - addresses, networks (`10.0.0.0/8`, `2001:db8::/32`), `loopback`, `linklocal` or `uniquelocal`: whoever connects from there.
 *
 * Never `true`: then every caller would choose its own address. Networks of length 0 are refused for the same reason.
 */
export type TrustProxy = false | number | string | readonly string[]

export interface ClientAddressOptions {
  /** Default `false`. */
  readonly trustProxy?: TrustProxy | undefined
  /**
   * The field that the trusted proxies write: `forwarded` is RFC 7239. Only this one is read: a field that the proxy does not write
   * comes from the caller. Default `x-forwarded-for`.
   */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded' | undefined
}

/** What {@link clientAddress} answers when the connection has no address: it is closed already, or is a Unix socket. */
export const unknownAddress = 'unknown'

/** A list of trusted proxies makes no more steps than this, so that a header full of trusted addresses costs little. */
const mostHops = 32

/**
 * The address of the caller, in one spelling: IPv4 dotted (also when it came as `::ffff:1.2.3.4` or `::ffff:102:304`), IPv6 in lower
 * case and shortest form, without zone id and port. Walks the proxies' header from the right, as far as each hop is trusted; an entry
 * that is no address ends the walk at the hop that sent it. Never throws while a request runs, never undefined:
 * {@link unknownAddress} if there is none.
 *
 * @throws TollgateError `config_invalid` if `trustProxy` is malformed; check it early with {@link checkTrustProxy}
 * @example clientAddress(req, { trustProxy: ['loopback', '10.0.0.0/8'] })
 */
export function clientAddress(req: IncomingMessage, options: ClientAddressOptions = {}): string {
  const peer = peerAddress(req)
  const { trustProxy = false } = options
  if (trustProxy === false || trustProxy === 0) return peer
  const field = req.headers[options.proxyHeader ?? 'x-forwarded-for']
  if (field === undefined) return peer
  const trusted = trustOf(trustProxy)
  const value = Array.isArray(field) ? field.join(',') : field
  const entryBefore = options.proxyHeader === 'forwarded' ? forwardedEntryBefore : listEntryBefore
  let address = peer
  let end = value.length
  for (let hop = 0; hop < mostHops && end >= 0 && trusted(address, hop); hop += 1) {
    const entry = entryBefore(value, end)
    const bare = entry.text === undefined ? undefined : withoutPort(entry.text)
    const groups = bare === undefined ? undefined : parseAddress(bare)
    if (groups === undefined) return address
    address = formatAddress(groups)
    end = entry.start
  }
  return address
}

/**
 * The part of an address that a limit counts by: IPv4 whole; of IPv6 the network, since one caller owns all of it and could
 * otherwise change its address with every request. IPv4 that reaches an IPv6-only network as `64:ff9b::/96` (RFC 6052) counts as IPv4.
 * What is no address is returned as it is.
 *
 * @param ipv6PrefixLength bits, 32 to 128; 56 by default, what providers give to one household
 * @example addressKey('2001:db8:1:2ff::7', 64) // '2001:db8:1:2ff::/64'
 */
export function addressKey(address: string, ipv6PrefixLength = 56): string {
  if (!address.includes(':')) return address
  const groups = parseAddress(address)
  if (groups === undefined) return address
  if (isMappedIpv4(groups)) return formatAddress(groups)
  if (isTranslatedIpv4(groups)) return formatAddress([0, 0, 0, 0, 0, 0xffff, ...groups.slice(6)])
  return `${formatAddress(maskAddress(groups, ipv6PrefixLength))}/${ipv6PrefixLength}`
}

/**
 * For factories: refuses a malformed {@link TrustProxy} where it is configured.
 *
 * @throws TollgateError `config_invalid`
 */
export function checkTrustProxy(trustProxy: unknown): asserts trustProxy is TrustProxy {
  if (trustProxy === false) return
  if (typeof trustProxy === 'number' && Number.isInteger(trustProxy) && trustProxy >= 0 && trustProxy <= mostHops)
    return
  if (typeof trustProxy === 'string') return void compileNetworks([trustProxy])
  if (Array.isArray(trustProxy)) return void compileNetworks(trustProxy)
  throw configInvalid(
    trustProxy === true
      ? 'trustProxy: true would let every caller choose its own address; give the number of proxies, or their addresses.'
      : `trustProxy must be false, a number of hops (0 to ${mostHops}), or addresses and networks.`,
  )
}

/**
 * Is an address of {@link clientAddress} in the list of addresses and networks? Lists are read once.
 *
 * @throws TollgateError `config_invalid` for an entry that is neither
 */
export function isInNetworks(address: string, list: readonly string[]): boolean {
  return list.length > 0 && trustOf(list)(address, 0)
}

type Trust = (address: string, hop: number) => boolean

interface Network {
  readonly groups: AddressGroups
  readonly bits: number
}

const namedNetworks: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

const trustByList = new WeakMap<readonly string[], Trust>()
const trustByText = new Map<string, Trust>()

function trustOf(trustProxy: number | string | readonly string[]): Trust {
  if (typeof trustProxy === 'number') {
    checkTrustProxy(trustProxy)
    return (_address, hop) => hop < trustProxy
  }
  if (typeof trustProxy === 'string') {
    const known = trustByText.get(trustProxy)
    if (known !== undefined) return known
    const made = trustNetworks([trustProxy])
    // Options are few; a caller that makes them up per request must not fill the memory.
    if (trustByText.size >= 100) trustByText.clear()
    trustByText.set(trustProxy, made)
    return made
  }
  const known = trustByList.get(trustProxy)
  if (known !== undefined) return known
  checkTrustProxy(trustProxy)
  const made = trustNetworks(trustProxy)
  trustByList.set(trustProxy, made)
  return made
}

function trustNetworks(list: readonly string[]): Trust {
  const networks = compileNetworks(list)
  return (address) => {
    const groups = parseAddress(address)
    return groups !== undefined && networks.some((network) => contains(network, groups))
  }
}

function compileNetworks(list: readonly unknown[]): Network[] {
  return list.flatMap((entry) => {
    if (typeof entry !== 'string') throw configInvalid('every entry of the list must be a string.')
    const names = Object.hasOwn(namedNetworks, entry) ? namedNetworks[entry] : undefined
    return (names ?? [entry]).map(compileNetwork)
  })
}

function compileNetwork(text: string): Network {
  const [address = '', length, ...rest] = text.split('/')
  const groups = address.includes('%') ? undefined : parseAddress(address)
  const dotted = !address.includes(':')
  const most = dotted ? 32 : 128
  const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1
  if (groups === undefined || rest.length > 0 || bits < 1 || bits > most) {
    throw configInvalid(
      `"${text}" is no address, network (10.0.0.0/8), loopback, linklocal or uniquelocal; a length of 0 would be everyone.`,
    )
  }
  return { groups, bits: dotted ? bits + 96 : bits }
}

function contains({ groups: network, bits }: Network, groups: AddressGroups): boolean {
  for (let index = 0; index < 8; index += 1) {
    const kept = Math.min(16, bits - index * 16)
    if (kept <= 0) return true
    const mask = (0xffff << (16 - kept)) & 0xffff
    if (((network[index] ?? 0) & mask) !== ((groups[index] ?? 0) & mask)) return false
  }
  return true
}

function isTranslatedIpv4(groups: AddressGroups): boolean {
  return groups[0] === 0x64 && groups[1] === 0xff9b && groups.slice(2, 6).every((group) => group === 0)
}

function peerAddress(req: IncomingMessage): string {
  const address = req.socket?.remoteAddress
  if (address === undefined || address === '') return unknownAddress
  if (!address.includes(':')) return address
  const groups = parseAddress(address)
  return groups === undefined ? unknownAddress : formatAddress(groups)
}

interface Entry {
  readonly text: string | undefined
  /** Where the comma before it is; -1 if it was the first. */
  readonly start: number
}

function listEntryBefore(value: string, end: number): Entry {
  const start = end === 0 ? -1 : value.lastIndexOf(',', end - 1)
  return { text: value.slice(start + 1, end).trim(), start }
}

/**
 * RFC 7239, read from the right as well: whatever a caller wrote at the left, an open quote for one, cannot swallow what a trusted proxy
 * has appended. Escapes do not occur in addresses and end the walk.
 */
function forwardedEntryBefore(value: string, end: number): Entry {
  let start = end - 1
  for (let quoted = false; start >= 0; start -= 1) {
    const character = value[start]
    if (character === '"') quoted = !quoted
    else if (character === ',' && !quoted) break
  }
  return { text: forOf(value.slice(start + 1, end).trim()), start }
}

const forwardedPair = /\s*([\w!#$%&'*+.^`|~-]+)=(?:"([^"\\]*)"|([\w!#$%&'*+.^`|~-]+))\s*(?:;|$)/y

function forOf(element: string): string | undefined {
  let found: string | undefined
  forwardedPair.lastIndex = 0
  while (forwardedPair.lastIndex < element.length) {
    const pair = forwardedPair.exec(element)
    if (pair === null) return undefined
    if (pair[1]?.toLowerCase() !== 'for') continue
    if (found !== undefined) return undefined
    found = pair[2] ?? pair[3]
  }
  return found
}
