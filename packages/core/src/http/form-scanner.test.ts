import { describe, expect, it } from 'vitest'
import { formScanner } from './form-scanner.js'

const crlf = (text: string) => text.replaceAll('\n', '\r\n')
const field = (name: string, value: string) => crlf(`--b\nContent-Disposition: form-data; name="${name}"\n\n${value}\n`)
const file = (bytes: string) =>
  crlf('--b\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".wav"\nContent-Type: audio/wav\n\n') +
  `${bytes}\r\n`
const end = '--b--\r\n'

/** The form with `own` in the field's place, pushed in pieces of `size` bytes, and what stood there. */
function scanned(form: string, own: string, size: number) {
  const scanner = formScanner('b', 'model')
  const out: string[] = []
  const values: Array<string | undefined> = []
  const bytes = Buffer.from(form, 'latin1')
  for (let at = 0; at < bytes.length; at += size) {
    for (const piece of scanner.push(bytes.subarray(at, at + size))) {
      if (Buffer.isBuffer(piece)) out.push(piece.toString('latin1'))
      else {
        values.push(piece.value?.toString())
        out.push(own)
      }
    }
  }
  return { out: out.join(''), values, isComplete: scanner.isComplete() }
}

it.each([1, 3, 64, 1_000])('notes short fields as they pass, in pieces of %i bytes', (size) => {
  const scanner = formScanner('b', 'model', ['n', 'size', 'long', 'file'])
  const form = [
    field('n', '1') + field('other', 'x') + field('model', 'm') + field('n', '3') + field('long', 'y'.repeat(65)),
    field('size', '1024x1024') + file('abc') + field('size', 'late') + end,
  ]
  const push = (text: string) => {
    const out: string[] = []
    for (let at = 0; at < text.length; at += size) {
      for (const piece of scanner.push(Buffer.from(text.slice(at, at + size), 'latin1'))) {
        out.push(Buffer.isBuffer(piece) ? piece.toString('latin1') : (piece.value?.toString() ?? ''))
      }
    }
    return out.join('')
  }
  let out = push(form[0] as string)
  expect([...scanner.noted()]).toEqual([['n', '3']])
  expect(scanner.hasFile()).toBe(false)
  out += push(form[1] as string)
  expect([...scanner.noted()]).toEqual([
    ['n', '3'],
    ['size', 'late'],
  ])
  expect(scanner.hasFile()).toBe(true)
  expect(out).toBe(form.join(''))
})

const sizes = [1, 2, 3, 5, 7, 11, 64, 1_000]

describe.each(sizes)('in pieces of %i bytes', (size) => {
  it.each([
    ['before the file', field('model', 'alias') + file('x\r\n--\r\n-b\r\n-') + end],
    ['behind the file', file('\r\n\r\n') + field('prompt', 'model') + field('model', 'alias') + end],
    ['alone, with an epilogue', `${field('model', 'alias') + end}more`],
  ])('replaces the field %s, and nothing else', (_where, form) => {
    expect(scanned(form, 'alias', size)).toEqual({ out: form, values: ['alias'], isComplete: true })
    expect(scanned(form, 'own', size).out).toBe(form.replace('alias', 'own'))
  })

  it('puts the field into a form without it', () => {
    const form = file('abc')
    expect(scanned(form + end, 'own', size)).toEqual({
      out: form + field('model', 'own') + end,
      values: [undefined],
      isComplete: true,
    })
  })

  it('knows a form that was cut', () => {
    expect(scanned(field('model', 'alias') + file('abc'), 'own', size).isComplete).toBe(false)
  })

  it.each([
    ['a second one', field('model', 'a') + field('model', 'b') + end],
    ['one that is a file', field('model', 'a').replace('"model"', '"model"; filename="m"') + end],
    ['a preamble', `hello\r\n${field('model', 'a') + end}`],
    ['lines without CR', (field('model', 'a') + end).replaceAll('\r\n', '\n')],
    ['a boundary that ends no line', file(crlf('x--b\nContent-Disposition: form-data; name="model"\n\nb')) + end],
    ['a boundary after a bare LF', file('x\n--b\nContent-Disposition: form-data; name="model"\n\nb\n') + end],
    ['a boundary with more behind it', `${field('model', 'a')}--bc\r\n`],
    [
      'two dispositions',
      field('model', 'a').replace('\r\n\r\n', crlf('\nContent-Disposition: form-data; name="file"\n\n')) + end,
    ],
    ['none', crlf('--b\nContent-Type: text/plain\n\na\n') + end],
    ['no header', crlf('--b\n\nContent-Disposition: form-data; name="x"\n\na\n') + end],
    ['a folded one', crlf('--b\nContent-Disposition: form-data;\n name="model"\n\na\n') + end],
    [
      'a bare LF in it',
      crlf('--b\nX: a\u0000\nContent-Disposition: form-data; name="x"\n\na\n').replace('\u0000', '\n') + end,
    ],
    ['a name in another way', field('model', 'a').replace('name="model"', "name*=utf-8''model") + end],
    ['a name with escapes', field('mod\\el', 'a') + end],
    ['a name in percents', field('mod%65l', 'a') + end],
    ['two names', field('model', 'a').replace('"model"', '"x"; name="model"') + end],
    ['a file name that may end sooner', field('x', 'a').replace('"x"', '"x"; filename="\\"; name="model"') + end],
    [
      'a file name that ends sooner for some',
      field('x', 'a').replace('"x"', '"x"; filename="\\"; name=model; y=\\""') + end,
    ],
    ['a name in capitals', field('Model', 'a') + field('model', 'b') + end],
    ['a name with a blank', field(' model', 'a') + field('model', 'b') + end],
    [
      'parts within a part',
      field('x', 'a').replace('\r\n\r\n', '\r\ncontent-type: Multipart/Mixed; boundary=i\r\n\r\n') + end,
    ],
    ['a boundary in a header', crlf('--b\nX: y\n--b\nContent-Disposition: form-data; name="x"\n\na\n') + end],
    ['a boundary behind the last', `${field('model', 'a')}${end}${field('model', 'b')}${end}`],
    ['a last boundary that is none for some', `--b--x\r\n${field('model', 'b')}${end}`],
    ['a header without end', `--b\r\nX: ${'x'.repeat(9_000)}`],
    ['a value without end', `--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n${'x'.repeat(2_000)}`],
  ])('refuses %s', (_what, form) => {
    expect(() => scanned(form, 'own', size)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  })
})

it('hands many parts on together', () => {
  const form = field('a', 'b').repeat(1_000) + field('model', 'alias') + file('x').repeat(1_000) + end
  const pieces = formScanner('b', 'model').push(Buffer.from(form))
  expect(pieces.map((piece) => (Buffer.isBuffer(piece) ? piece.toString() : piece.value?.toString()))).toEqual([
    form.slice(0, form.indexOf('alias')),
    'alias',
    form.slice(form.indexOf('alias') + 5),
  ])
})
