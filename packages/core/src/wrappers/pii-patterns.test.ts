import { describe, expect, it } from 'vitest'
import { drawApiKey } from '../stores/api-key.js'
import { type Finder, findAll, type PiiKind, patternFinder, piiFinders, secretFinder } from './pii-patterns.js'

const found = (finder: Finder, text: string) =>
  findAll(text, [['X', finder]]).map(({ start, end }) => text.slice(start, end))

describe.each<[PiiKind, found: string[], left: string[]]>([
  [
    'email',
    [
      'alice@example.com',
      'a.b+c@sub.example.co.uk',
      "o'brien@example.ie",
      'josé@exämple.de',
      'x@xn--e1afmkfd.xn--p1ai',
    ],
    ['a@b', '@example.com', 'alice at example.com', 'user@localhost'],
  ],
  [
    'phone',
    [
      '+49 30 1234567',
      '+1 (555) 123-4567',
      '+442071838750',
      '0049 30 1234567',
      '555-123-4567',
      '(555) 123-4567',
      '1-800-555-0199',
    ],
    ['12345678', '2024-01-31', '3.14159265', '1 + 2', '12345678-1234-1234-1234-123456789012', '+1234'],
  ],
  [
    'credit_card',
    [
      '4111111111111111',
      '4111 1111 1111 1111',
      '5500-0000-0000-0004',
      '378282246310005',
      '3782 822463 10005',
      '6304000000000000000',
    ],
    [
      '4111111111111112',
      '1732000000000',
      '4111  1111  1111  1111',
      '411111111111',
      '00000000000000000000004111111111111111',
    ],
  ],
  [
    'iban',
    [
      'DE89370400440532013000',
      'DE89 3704 0044 0532 0130 00',
      'gb82 west 1234 5698 7654 32',
      'NO9386011117947',
      'MT84MALT011000012345MTLCAST001S',
    ],
    ['DE89370400440532013001', 'DE8937040044053201300', 'XX89370400440532013000', 'DE893704004405320130001'],
  ],
  [
    'ip',
    ['192.168.0.1', '8.8.8.8', '2001:db8::8a2e:370:7334', 'fe80::1ff:fe23:4567:890a', '::ffff:192.0.2.128'],
    ['1.2.3', '1.2.3.4.5', '256.1.1.1', '12:30:45', 'std::vector', 'a::b', '::'],
  ],
  [
    'us_ssn',
    ['123-45-6789', '123 45 6789'],
    ['000-45-6789', '666-45-6789', '912-45-6789', '123-00-6789', '123-45 6789', '1123-45-6789'],
  ],
])('%s', (kind, are, areNot) => {
  it.each(are)('is %s', (text) => {
    expect(found(piiFinders[kind], text)).toEqual([text])
    expect(found(piiFinders[kind], `(see ${text}, 12 please)`)).toEqual([text])
    // JSON within JSON.
    expect(found(piiFinders[kind], `"line\\n${text}\\n"`)).toEqual([text])
    expect(found(piiFinders[kind], `"\\u00a0${text}\\u00a0"`)).toEqual([text])
  })
  it.each(areNot)('is not %s', (text) => expect(found(piiFinders[kind], text)).toEqual([]))
})

it('finds a card among other numbers', () => {
  expect(found(piiFinders.credit_card, 'order 12 4111 1111 1111 1111 12/26')).toEqual(['4111 1111 1111 1111'])
  expect(found(piiFinders.iban, 'IBAN DE89 3704 0044 0532 0130 00 AND MORE')).toEqual(['DE89 3704 0044 0532 0130 00'])
  expect(found(piiFinders.email, '请联系alice@example.com谢谢')).toEqual(['alice@example.com'])
  expect(found(piiFinders.email, "to=alice@example.com, 'bob@example.com'.")).toEqual([
    'alice@example.com',
    'bob@example.com',
  ])
})

const many = (length: number) => 'aB3'.repeat(length).slice(0, length)
const pem = `-----BEGIN RSA PRIVATE KEY-----\n${many(64)}\n${many(64)}==\n-----END RSA PRIVATE KEY-----`
const token = `eyJ${many(20)}.eyJ${many(40)}.${many(43)}`

describe('secrets', () => {
  it.each([
    `sk-${many(48)}`,
    `sk-proj-${many(20)}_${many(20)}-x`,
    `sk-ant-api03-${many(93)}AA`,
    'AKIAIOSFODNN7EXAMPLE',
    `ghp_${many(36)}`,
    `github_pat_${many(22)}_${many(59)}`,
    `xoxb-123456789012-${many(24)}`,
    `sk_live_${many(24)}`,
    `rk_test_${many(24)}`,
    `AIza${many(35)}`,
    drawApiKey('live'),
    token,
    `eyJ${many(20)}.${many(40)}.${many(16)}.${many(30)}.${many(22)}`,
    pem,
  ])('are %s', (secret) => {
    expect(found(secretFinder, secret)).toEqual([secret])
    expect(found(secretFinder, `Bearer ${secret} and so on`)).toEqual([secret])
    expect(found(secretFinder, `"line\\n${secret}\\n"`)).toEqual([secret])
  })
  it('are found by the name of their variable', () => {
    const secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
    expect(found(secretFinder, `AWS_SECRET_ACCESS_KEY="${secret}"`)).toEqual([secret])
  })
  it('go to the end of the text if a block is cut', () => {
    expect(found(secretFinder, `see ${pem.slice(0, 90)}`)).toEqual([pem.slice(0, 90)])
  })
  it.each([
    'task-oriented-development-is-nice',
    'sk-short',
    'a risk-assessment-of-everything',
    'AKIA123',
    'eyJ.a.b',
    '-----BEGIN CERTIFICATE-----',
  ])('are not %s', (text) => expect(found(secretFinder, text)).toEqual([]))
})

it('takes what overlaps as one', () => {
  const text = 'ab12 34cd'
  const finders = [
    ['LEFT', patternFinder(/ab12 3/)],
    ['RIGHT', patternFinder(/12 34cd/)],
    ['NONE', patternFinder(/x*/)],
  ] as const
  expect(findAll(text, finders)).toEqual([{ start: 0, end: 9, kind: 'RIGHT' }])
})

// One that took longer than in proportion would take minutes.
describe('a megabyte that means it ill', () => {
  const size = 1_000_000
  const ill = [
    ...[
      'a',
      '1',
      '@',
      '.',
      '-',
      ':',
      '+',
      '[',
      '\\',
      ' ',
      'é',
      '{',
      'eyJ',
      'sk-',
      'tg_live_',
      'AKIA',
      '-----BEGIN PRIVATE KEY-----',
    ],
    ...[
      '1 ',
      '1-',
      '1.',
      'a.',
      'a@',
      '@a.',
      'a-',
      'DE89',
      'DE89 ',
      '+1',
      '00 1',
      '1:',
      ':1',
      'a:',
      '\\n1',
      '\\u00a01',
      'eyJ-',
      'eyJa.',
      `eyJ${many(30)}.`,
    ],
    ...[
      '-----BEGIN ',
      '-----END ',
      '-----BEGIN PRIVATE KEY----- -----END ',
      '[A_',
      '[A_1',
      'x@a-',
      'aws_secret_access_key=',
      'xoxb-a.',
      '\\eyJaaaaaaaaa',
    ],
  ]
  const all = [...Object.entries(piiFinders), ['SECRET', secretFinder] as const]
  it.each(ill)('of %j', (piece) => {
    findAll(`!${piece.repeat(size / piece.length)}!`, all)
  })
})
