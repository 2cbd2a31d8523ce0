import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { isTollgateError } from './errors.js'
import { checkedOptions, functionOption, objectOption } from './options.js'
import type { Tokenizer } from './tokenizer.js'

const schema = z
  .strictObject({
    limit: z.int().min(1).default(10),
    headers: z.union([z.enum(['all', 'few']), z.array(z.string()), z.literal(false)]).optional(),
    key: z
      .union([z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII'), functionOption<() => string>()])
      .optional(),
    tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count').optional(),
    gpu: z.union([z.boolean(), functionOption<() => boolean>()], 'must be true, false or a function').optional(),
    nested: z.strictObject({ list: z.array(z.int()) }).optional(),
  })
  .refine(({ limit }) => limit !== 13, 'the limit brings no luck')

function refusal(options: unknown): string {
  try {
    checkedOptions('made', schema, options)
  } catch (error) {
    if (isTollgateError(error, 'config_invalid')) return error.message
    throw error
  }
  throw new Error('the options were taken')
}

describe('checkedOptions', () => {
  it('gives the options with their defaults', () => {
    expect(checkedOptions('made', schema, {})).toEqual({ limit: 10 })
  })

  it.each<[string, unknown, string]>([
    ['a number of another kind', { limit: 1.5 }, 'made: limit: expected a whole number, got a number'],
    ['an unknown option', { limits: 1 }, 'made: limits: is not a known option: remove it or mend its spelling'],
    [
      'none of a union',
      { headers: 'most' },
      "made: headers: expected one of 'all', 'few' or an array or false, got a string",
    ],
    ['a branch of a union that nearly fits', { key: 'a b' }, 'made: key: must be visible ASCII'],
    [
      'an object without the method',
      { tokenizer: {} },
      'made: tokenizer: must be a Tokenizer, for example gptTokenizer()',
    ],
    ['no object at all', { tokenizer: null }, 'made: tokenizer: must be a Tokenizer, for example gptTokenizer()'],
    ['a place in a list', { nested: { list: [1, 'x'] } }, 'made: nested.list[1]: expected a number, got a string'],
    ['options that do not go together', { limit: 13 }, 'made: the limit brings no luck'],
    ['a union with words of its own', { gpu: 1 }, 'made: gpu: must be true, false or a function'],
    ['options that are none', 7, 'made: expected an object, got a number'],
    [
      'two mistakes',
      { limit: 0, x: 1 },
      'made: limit: must be at least 1; x: is not a known option: remove it or mend its spelling',
    ],
  ])('refuses %s in words, whole and with the place', (_what, options, message) => {
    expect(refusal(options)).toBe(message)
  })

  it('never repeats a value: it may be a secret', () => {
    expect(refusal({ key: 'a secret', headers: 'a secret', nested: 'a secret' })).not.toContain('secret')
  })
})
