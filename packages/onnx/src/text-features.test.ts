import { describe, expect, it } from 'vitest'
import { normalizeText, prepare, scriptBuckets, textFeatures } from './text-features.js'

const parameters = { buckets: 29_000, maxOrder: 4, maxCharacters: 256 }

describe('normalizeText', () => {
  it.each([
    ['Où est la gare ?', 'où est la gare'],
    ['  HELLO,\n\tworld!! ', 'hello world'],
    ['l’été “dit-il”', "l'été dit il"],
    ["'quoted' don't", "quoted don't"],
    ['e\u0301te\u0301', 'été'],
    ['12:30 🙂 \ud800', ''],
    ['', ''],
    ['कहाँ है?', 'कहाँ है'],
  ])('%j becomes %j', (text, expected) => {
    expect(normalizeText(text)).toBe(expected)
  })
})

describe('textFeatures', () => {
  it('gives the same features for the same text, composed or not, in any case', () => {
    expect(textFeatures('ÉTÉ', parameters)).toEqual(textFeatures('e\u0301te\u0301', parameters))
  })

  it('gives ids within the table and weights that sum exactly in any order', () => {
    const { ids, weights } = textFeatures('Всеки има право на живот — 全ての人は 🙂 everyone', parameters)
    expect(ids.length).toBe(weights.length)
    expect(Math.max(...ids)).toBeLessThan(parameters.buckets)
    expect(weights.every((weight) => Number.isInteger(weight * 2048))).toBe(true)
    // The bound behind the exactness: sum of weights × 127 in steps of 1/2048 stays under 2^24.
    const words = Array.from({ length: 400 }, (_, index) => (index * 7919).toString(36).replace(/\d/g, 'q'))
    const longest = textFeatures(words.join(' '), parameters)
    const sum = longest.weights.reduce((total, weight) => total + weight, 0)
    expect(sum * 127 * 2048).toBeLessThan(2 ** 24)
  })

  it('has no feature for a text without letters', () => {
    for (const text of ['', ' ', '1234', '🙂🙂', '\ud800', '...']) {
      expect(textFeatures(text, parameters).ids.length).toBe(0)
    }
  })

  it('knows the writing system of a character it never met', () => {
    const scripts = (text: string) => [...textFeatures(text, parameters).ids].filter((id) => id < scriptBuckets)
    expect(scripts('龘')).toEqual(scripts('人'))
    expect(scripts('𠀋')).toEqual(scripts('人'))
    expect(scripts('ア')).not.toEqual(scripts('人'))
    expect(scripts('뷁')).toEqual(scripts('가'))
  })

  it('reads only the first characters of a long text', () => {
    const start = 'the right to life '.repeat(20)
    expect(textFeatures(`${start}уууу`, parameters)).toEqual(textFeatures(start, parameters))
  })
})

describe('prepare', () => {
  it('fills shorter rows up with features of no weight', () => {
    const { ids, weights } = prepare(['a', 'a longer text', '?'], parameters)
    const [rows, length] = ids.dims as [number, number]
    expect(rows).toBe(3)
    const alone = textFeatures('a', parameters)
    expect([...ids.data.subarray(0, alone.ids.length)]).toEqual([...alone.ids])
    expect(weights.data.subarray(alone.ids.length, length).every((weight) => weight === 0)).toBe(true)
    expect(weights.data.subarray(2 * length).every((weight) => weight === 0)).toBe(true)
  })

  it('makes tensors of no rows, and of rows without features', () => {
    expect(prepare([], parameters).ids.dims).toEqual([0, 1])
    expect(prepare(['?'], parameters).ids.dims).toEqual([1, 1])
  })
})
