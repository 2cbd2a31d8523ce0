import type { IncomingMessage } from 'node:http'
import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import {
  addressKey,
  type ClientAddressOptions,
  checkTrustProxy,
  clientAddress,
  type TrustProxy,
} from './client-address.js'
import { endpoint } from './handler.js'
import { formatAddress, parseAddress } from './ip-address.js'

function request(remoteAddress: string | undefined, headers: Record<string, string> = {}): IncomingMessage {
  return { socket: { remoteAddress }, headers } as unknown as IncomingMessage
}

const viaList = (peer: string, forwardedFor: string, trustProxy: TrustProxy) =>
  clientAddress(request(peer, { 'x-forwarded-for': forwardedFor }), { trustProxy })

const viaForwarded = (peer: string, forwarded: string, trustProxy: TrustProxy) =>
  clientAddress(request(peer, { forwarded, 'x-forwarded-for': '6.6.6.6' }), { trustProxy, proxyHeader: 'forwarded' })

eachHost((host) => {
  it('believes X-Forwarded-For of trusted proxies only', async () => {
    const options: ClientAddressOptions[] = [
      {},
      { trustProxy: 1 },
      { trustProxy: 'loopback' },
      { trustProxy: ['10.0.0.0/8'] },
    ]
    const { url } = await host.start(
      endpoint(
        'addresses',
        (_context, req, res) => void res.end(JSON.stringify(options.map((each) => clientAddress(req, each)))),
      ),
    )
    const answer = await fetch(url, { headers: { 'x-forwarded-for': '6.6.6.6, 203.0.113.7' } })
    expect(await answer.json()).toEqual(['127.0.0.1', '203.0.113.7', '203.0.113.7', '127.0.0.1'])
  })
})

describe('clientAddress of the connection', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['::ffff:cb00:7107', '203.0.113.7'],
    ['0:0:0:0:0:FFFF:CB00:7107', '203.0.113.7'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8::203.0.113.7', '2001:db8::cb00:7107'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::', '::'],
    [undefined, 'unknown'],
    ['', 'unknown'],
  ])('%s is %s', (remoteAddress, address) => {
    expect(clientAddress(request(remoteAddress))).toBe(address)
  })

  it('is not asked of a request without a socket', () => {
    expect(clientAddress({ headers: {} } as IncomingMessage)).toBe('unknown')
  })
})

describe('clientAddress by X-Forwarded-For', () => {
  it.each<[what: string, peer: string, header: string, trust: TrustProxy, address: string]>([
    ['nobody trusted', '10.0.0.1', '203.0.113.7', false, '10.0.0.1'],
    ['no hop', '10.0.0.1', '203.0.113.7', 0, '10.0.0.1'],
    ['one hop', '10.0.0.1', '6.6.6.6, 203.0.113.7', 1, '203.0.113.7'],
    ['two hops', '10.0.0.1', '6.6.6.6, 203.0.113.7, 10.0.0.2', 2, '203.0.113.7'],
    ['fewer entries than hops', '10.0.0.1', '203.0.113.7', 5, '203.0.113.7'],
    ['one hop behind a Unix socket', '', '203.0.113.7', 1, '203.0.113.7'],
    ['a list, up to the first stranger', '10.0.0.1', '6.6.6.6, 203.0.113.7, 10.9.9.9', ['10.0.0.0/8'], '203.0.113.7'],
    ['a peer that is not on the list', '203.0.113.9', '6.6.6.6', ['10.0.0.0/8'], '203.0.113.9'],
    ['a list and a mapped peer', '::ffff:10.0.0.1', '203.0.113.7', ['10.0.0.0/8'], '203.0.113.7'],
    ['a list and a Unix socket', '', '203.0.113.7', ['10.0.0.0/8'], 'unknown'],
    ['all trusted', '10.0.0.1', '10.0.0.3, 10.0.0.2', ['10.0.0.0/8'], '10.0.0.3'],
    [
      'names',
      '127.0.0.1',
      '203.0.113.7, fd00::1, fe80::2, ::1',
      ['loopback', 'linklocal', 'uniquelocal'],
      '203.0.113.7',
    ],
    ['an IPv6 network', '2001:db8:1::1', '203.0.113.7', '2001:db8:1::/48', '203.0.113.7'],
    ['beside an IPv6 network', '2001:db8:2::1', '203.0.113.7', '2001:db8:1::/48', '2001:db8:2::1'],
    ['an odd network length', '10.127.0.1', '203.0.113.7', '10.64.0.0/10', '203.0.113.7'],
    ['beside an odd network length', '10.128.0.1', '203.0.113.7', '10.64.0.0/10', '10.128.0.1'],
    ['ports', '10.0.0.1', '203.0.113.7:4711', 1, '203.0.113.7'],
    ['brackets', '10.0.0.1', '[2001:db8::7]', 1, '2001:db8::7'],
    ['brackets and a port', '10.0.0.1', '[2001:DB8::7]:443', 1, '2001:db8::7'],
    ['a zone', '10.0.0.1', 'fe80::7%en0', 1, 'fe80::7'],
    ['spaces and tabs', '10.0.0.1', ' \t203.0.113.7\t ', 1, '203.0.113.7'],
    ['garbage stops at who sent it', '10.0.0.1', '203.0.113.7, <script>, 10.0.0.2', 3, '10.0.0.2'],
    ['nothing but garbage', '10.0.0.1', 'unknown', 1, '10.0.0.1'],
    ['an empty entry', '10.0.0.1', '203.0.113.7,', 2, '10.0.0.1'],
    ['a bad port', '10.0.0.1', '203.0.113.7:http', 1, '10.0.0.1'],
    ['an open bracket', '10.0.0.1', '[::1', 1, '10.0.0.1'],
    ['leading zeros', '10.0.0.1', '010.0.0.1', 1, '10.0.0.1'],
    ['short IPv4', '10.0.0.1', '10.1', 1, '10.0.0.1'],
    ['a very long zone', '10.0.0.1', `fe80::1%${'x'.repeat(5000)}`, 1, '10.0.0.1'],
  ])('%s', (_what, peer, header, trust, address) => {
    expect(viaList(peer, header, trust)).toBe(address)
  })

  it('walks 32 hops of a list at most', () => {
    const header = Array.from({ length: 100 }, (_, index) => `10.0.0.${index}`).join(',')
    expect(viaList('10.1.1.1', header, ['10.0.0.0/8'])).toBe('10.0.0.68')
  })

  it('is always an address or unknown, whatever comes', () => {
    const piece = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string(), fc.constantFrom(',', ':', '[', ']', '%', '"', '10.0.0.1'))
    fc.assert(
      fc.property(
        fc.array(piece),
        fc.constantFrom<TrustProxy>(1, 3, 'uniquelocal', ['10.0.0.0/8', '::/1']),
        (pieces, trust) => {
          for (const header of [pieces.join(','), pieces.join('')]) {
            const listed = viaList('10.0.0.1', header, trust)
            expect(isIPv4(listed) || isIPv6(listed)).toBe(true)
            const forwarded = viaForwarded('10.0.0.1', header, trust)
            expect(isIPv4(forwarded) || isIPv6(forwarded)).toBe(true)
          }
        },
      ),
    )
  })

  it('cannot be moved by what the caller writes before the entry of the proxy', () => {
    const text = fc.string().filter((value) => !/[\r\n]/.test(value))
    fc.assert(
      fc.property(text, (spoofed) => {
        expect(viaList('10.0.0.1', `${spoofed}, 203.0.113.7`, 1)).toBe('203.0.113.7')
        expect(viaList('10.0.0.1', `${spoofed}, 203.0.113.7`, ['10.0.0.0/8'])).toBe('203.0.113.7')
        expect(viaForwarded('10.0.0.1', `${spoofed}, for=203.0.113.7`, 1)).toBe('203.0.113.7')
      }),
    )
  })
})

describe('clientAddress by Forwarded', () => {
  it.each<[what: string, header: string, address: string]>([
    ['plain', 'for=203.0.113.7', '203.0.113.7'],
    ['any case and more pairs', 'proto=https;For=203.0.113.7;by=10.0.0.1', '203.0.113.7'],
    ['quoted IPv6 and port', 'for="[2001:db8::7]:4711"', '2001:db8::7'],
    ['the last element counts', 'for=6.6.6.6, for=203.0.113.7', '203.0.113.7'],
    ['an open quote before it', 'for="6.6.6.6, for=203.0.113.7', '203.0.113.7'],
    ['a for inside of a quoted host', 'host="a;for=6.6.6.6,b";for=203.0.113.7', '203.0.113.7'],
    ['two of them', 'for=6.6.6.6;for=203.0.113.7', '10.0.0.1'],
    ['unknown', 'for=unknown', '10.0.0.1'],
    ['hidden', 'for=_hidden', '10.0.0.1'],
    ['none', 'proto=https', '10.0.0.1'],
    ['IPv6 without quotes', 'for=[2001:db8::7]', '10.0.0.1'],
    ['escapes', 'for="203.0.113.7";host="a\\"b"', '10.0.0.1'],
    ['no pair', '203.0.113.7', '10.0.0.1'],
  ])('%s', (_what, header, address) => {
    expect(viaForwarded('10.0.0.1', header, 1)).toBe(address)
  })

  it('never reads the other field', () => {
    const spoofed = request('10.0.0.1', { 'x-forwarded-for': '6.6.6.6' })
    expect(clientAddress(spoofed, { trustProxy: 1, proxyHeader: 'forwarded' })).toBe('10.0.0.1')
    expect(viaList('10.0.0.1', '203.0.113.7', 1)).toBe('203.0.113.7')
  })
})

describe('checkTrustProxy', () => {
  it.each([
    true,
    -1,
    1.5,
    33,
    Number.NaN,
    null,
    {},
    'everyone',
    '0.0.0.0/0',
    '::/0',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '::1/129',
    'fe80::1%eth0',
    '',
    [5],
    ['loopback', true],
    'toString',
  ])('refuses %j', (trustProxy) => {
    expect(() => checkTrustProxy(trustProxy)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })

  it.each<TrustProxy>([false, 0, 2, 'loopback', '10.0.0.0/8', ['::1', '2001:db8::/32'], []])(
    'accepts %j',
    (trustProxy) => {
      expect(() => checkTrustProxy(trustProxy)).not.toThrow()
    },
  )

  it('says what to write instead of true', () => {
    expect(() => checkTrustProxy(true)).toThrow(/number of proxies/)
  })

  it('is made up for by clientAddress', () => {
    for (const trustProxy of [['nonsense'], 'nonsense', -1] as const) {
      expect(() => viaList('10.0.0.1', '1.1.1.1', trustProxy)).toThrow(
        expect.objectContaining({ code: 'config_invalid' }),
      )
    }
  })
})

describe('addressKey', () => {
  it.each([
    ['203.0.113.7', 56, '203.0.113.7'],
    ['unknown', 56, 'unknown'],
    ['::ffff:203.0.113.7', 56, '203.0.113.7'],
    ['64:ff9b::203.0.113.7', 56, '203.0.113.7'],
    ['2001:db8:1:2ff:a:b:c:d', 64, '2001:db8:1:2ff::/64'],
    ['2001:db8:1:2ff:a:b:c:d', 56, '2001:db8:1:200::/56'],
    ['2001:db8:1:2ff:a:b:c:d', 48, '2001:db8:1::/48'],
    ['2001:db8:1:2ff:a:b:c:d', 60, '2001:db8:1:2f0::/60'],
    ['2001:db8:1:2ff:a:b:c:d', 128, '2001:db8:1:2ff:a:b:c:d/128'],
    ['not:an:address', 56, 'not:an:address'],
  ])('of %s by %i bits is %s', (address, bits, key) => {
    expect(addressKey(address, bits)).toBe(key)
  })

  it('takes a household for one caller by default', () => {
    expect(addressKey('2001:db8:1:201::1')).toBe(addressKey('2001:db8:1:2fe::9'))
    expect(addressKey('2001:db8:1:301::1')).not.toBe(addressKey('2001:db8:1:2fe::9'))
  })

  it('depends on the first bits and on nothing else', () => {
    const groups = fc.array(fc.nat({ max: 0xffff }), { minLength: 8, maxLength: 8 })
    fc.assert(
      fc.property(groups, groups, fc.integer({ min: 32, max: 128 }), (left, right, bits) => {
        const binary = (each: number[]) =>
          each
            .map((group) => group.toString(2).padStart(16, '0'))
            .join('')
            .slice(0, bits)
        const same = binary(left) === binary(right)
        expect(addressKey(formatAddress(left), bits) === addressKey(formatAddress(right), bits)).toBe(same)
        const near = [...left.slice(0, 7), (left[7] ?? 0) ^ 1]
        if (bits < 128) expect(addressKey(formatAddress(near), bits)).toBe(addressKey(formatAddress(left), bits))
      }),
    )
  })
})

describe('parseAddress and formatAddress', () => {
  it('take what node:net takes for an address, and nothing else', () => {
    const piece = fc.constantFrom(
      '::',
      ':',
      '0',
      '1',
      'ffff',
      'abcd',
      '12345',
      'g',
      '1.2.3.4',
      '1.2.3',
      '256.1.1.1',
      '.',
      '%e',
      '',
    )
    const mangled = fc
      .tuple(fc.oneof(fc.ipV6(), fc.ipV4()), fc.nat(), fc.constantFrom('', ':', '::', '0', 'x', '.', '%'))
      .map(
        ([text, at, insert]) =>
          text.slice(0, at % (text.length + 1)) + insert + text.slice((at % (text.length + 1)) + 1),
      )
    const candidates = fc.oneof(
      fc.ipV6(),
      fc.ipV4(),
      mangled,
      fc.array(piece, { maxLength: 17 }).map((pieces) => pieces.join('')),
      fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join(':')),
    )
    fc.assert(
      fc.property(candidates, (text) => {
        expect([text, parseAddress(text)?.length]).toEqual([text, isIPv4(text) || isIPv6(text) ? 8 : undefined])
      }),
      { numRuns: 5000 },
    )
  })

  it('read back what they wrote, in one spelling', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV6(), fc.ipV4()), (text) => {
        const groups = parseAddress(text)
        const formatted = formatAddress(groups ?? [])
        expect(parseAddress(formatted)).toEqual(groups)
        expect(parseAddress(formatted.toUpperCase())).toEqual(groups)
      }),
    )
  })

  it('spells as the URL parser does', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const groups = parseAddress(text) ?? []
        if (groups[5] === 0xffff) return
        expect(`[${formatAddress(groups)}]`).toBe(new URL(`http://[${text}]`).hostname)
      }),
    )
  })
})
