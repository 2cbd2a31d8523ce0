import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { fieldErrors, invalidRequest, isZodError, parseWith } from './parse.js'

const errorsOf = (schema: z.ZodType, value: unknown, prefix?: string) => {
  const { error } = schema.safeParse(value)
  return error === undefined ? [] : fieldErrors(error, prefix)
}
const messageOf = (schema: z.ZodType, value: unknown) => errorsOf(schema, value).map(({ message }) => message)

describe('fieldErrors', () => {
  it.each<[string, z.ZodType, unknown, string]>([
    ['a wrong type', z.number(), 'x', 'expected a number, got a string'],
    ['nothing', z.object({ a: z.string() }), {}, 'is required: expected a string'],
    ['null', z.string(), null, 'expected a string, got null'],
    ['a fraction', z.int(), 1.5, 'expected a whole number, got a number'],
    ['NaN', z.number(), Number.NaN, 'expected a number, got NaN'],
    ['an unknown name', z.enum(['a', 'b']), 'c', "expected one of 'a', 'b'"],
    ['another constant', z.literal(true), false, 'expected true'],
    ['a small number', z.number().min(1), 0, 'must be at least 1'],
    ['a number that is not larger', z.number().gt(1), 1, 'must be more than 1'],
    ['a large number', z.number().max(2), 3, 'must be at most 2'],
    ['a short text', z.string().min(1), '', 'must have at least 1 character'],
    ['a long list', z.array(z.number()).max(2), [1, 2, 3], 'must have at most 2 items'],
    ['a bad address', z.email(), 'x', 'must be a valid email'],
    ['a bad form', z.string().regex(/^secret$/), 'x', 'has characters or a form that is not allowed'],
    ['a bad start', z.string().startsWith('sk-'), 'x', 'must start with "sk-"'],
    ['a bad step', z.number().multipleOf(2), 3, 'must be a multiple of 2'],
    ["the author's words", z.string('Tell us your name.'), 1, 'Tell us your name.'],
    ["the author's rule", z.string().refine(() => false, 'must rhyme'), 'x', 'must rhyme'],
  ])('tells %s in words', (_name, schema, value, message) => {
    expect(messageOf(schema, value)).toEqual([message])
  })

  it('writes paths that read like code', () => {
    const schema = z.strictObject({ 'a b': z.array(z.object({ c: z.string() })), d: z.record(z.string(), z.number()) })
    const value = { 'a b': [{ c: 'x' }, {}], d: { 'x"y': 'z', __proto: 1 }, e: 1 }
    expect(errorsOf(schema, value).map(({ path }) => path)).toEqual(['["a b"][1].c', 'd["x\\"y"]', 'e'])
    expect(errorsOf(z.string(), 1)).toMatchObject([{ path: 'body' }])
    expect(errorsOf(z.object({ limit: z.number() }), {}, 'query')).toMatchObject([{ path: 'query.limit' }])
    expect(errorsOf(z.string(), 1, 'query')).toMatchObject([{ path: 'query' }])
  })

  it('takes the branch of a union that was meant', () => {
    const content = z.object({
      content: z.union([z.string(), z.array(z.object({ type: z.literal('text'), text: z.string() }))]),
    })
    expect(errorsOf(content, { content: 1 })).toEqual([
      { path: 'content', message: 'expected a string or an array, got a number' },
    ])
    expect(errorsOf(content, { content: [{ type: 'text' }] })).toEqual([
      { path: 'content[0].text', message: 'is required: expected a string' },
    ])
    const tagged = z.object({
      of: z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b') })]),
    })
    expect(errorsOf(tagged, { of: { k: 'c' } })).toEqual([{ path: 'of.k', message: "expected one of 'a', 'b'" }])
    const choice = z.union([z.literal('auto'), z.object({ name: z.string() })])
    expect(messageOf(choice, 3)).toEqual(["expected 'auto' or an object, got a number"])
  })

  it('is bounded, whatever the caller sends', () => {
    expect(errorsOf(z.array(z.string()), Array(5_000).fill(0))).toHaveLength(20)
    const names = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`.padEnd(5_000, 'x'), 1]))
    const errors = errorsOf(z.strictObject({}), names)
    expect(errors).toHaveLength(20)
    expect(Math.max(...errors.map(({ path }) => path.length))).toBeLessThan(220)
  })

  it('never repeats a value', () => {
    const schema = z.strictObject({
      a: z.union([z.number(), z.literal('x'), z.array(z.email())]),
      b: z
        .string()
        .max(3)
        .regex(/^[0-9]*$/),
      c: z.enum(['p', 'q']),
    })
    const secret = fc.string({ minLength: 12 }).map((text) => `SECRET${text}`)
    fc.assert(
      fc.property(secret, (value) => {
        expect(JSON.stringify(errorsOf(schema, { a: value, b: value, c: value }))).not.toContain('SECRET')
        expect(JSON.stringify(errorsOf(schema, { a: [value], b: [value], c: {} }))).not.toContain('SECRET')
      }),
    )
  })
})

describe('parseWith', () => {
  it('gives what the schema reads', () => {
    expect(parseWith(z.object({ a: z.number().default(1) }), {})).toEqual({ a: 1 })
  })

  it('throws invalid_request, with the first fields in its message', () => {
    const schema = z.object({ a: z.string(), b: z.string(), c: z.string(), d: z.string() })
    const attempt = () => parseWith(schema, { a: 1, b: 1, c: 1, d: 1 })
    expect(attempt).toThrow(
      'a: expected a string, got a number; b: expected a string, got a number; c: expected a string, got a number (and 1 more).',
    )
    expect(attempt).toThrow(expect.objectContaining({ code: 'invalid_request', status: 400 }))
  })
})

it('knows the errors of another copy of zod', () => {
  expect(isZodError({ name: 'ZodError', issues: [] })).toBe(true)
  expect(isZodError(new Error('x'))).toBe(false)
  expect(isZodError(null)).toBe(false)
  expect(invalidRequest([]).code).toBe('invalid_request')
})
