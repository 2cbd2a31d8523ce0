/**
 * Turns text into hashed character n-grams: the one description of a text that training and serving share.
 *
 * This file imports nothing, so that the training script, the worker thread and the tests load the very same code.
 * Any change to it changes what a shipped model sees: train again and raise the model's version.
 */

/** How a text becomes features. These stand in the model's manifest, so a model keeps the parameters it was trained with. */
export interface TextFeatureParameters {
  /** How many rows the weight table has; every feature's id is below this. */
  readonly buckets: number
  /** The longest n-gram, in UTF-16 code units. */
  readonly maxOrder: number
  /** Only the first so many characters (UTF-16 code units) of a text are read. */
  readonly maxCharacters: number
}

/** The features of one text. Both arrays have the same length; a text without a letter has none. */
export interface TextFeatures {
  readonly ids: Int32Array
  readonly weights: Float32Array
}

/** A tensor as plain data: what `prepare` hands to the session. */
export interface PreparedTensor {
  readonly type: 'int32' | 'float32'
  readonly data: Int32Array | Float32Array
  readonly dims: readonly number[]
}

/** Ids below this one stand for writing systems and never collide with an n-gram. */
export const SCRIPT_BUCKETS = 80

const KANA = 64
const HAN = 65
const HANGUL = 66
const OTHER = 67

/**
 * The writing system of a letter, coarsely: blocks of 128 code points up to U+1FFF, then the large ones of East Asia.
 * A rare ideograph that training never met is still seen to be an ideograph.
 */
function scriptOf(codePoint: number): number {
  if (codePoint < 0x2000) return codePoint >> 7
  if ((codePoint >= 0x3040 && codePoint <= 0x30ff) || (codePoint >= 0xff66 && codePoint <= 0xff9d)) return KANA
  if (codePoint >= 0x3400 && codePoint <= 0x9fff) return HAN
  if (codePoint >= 0xac00 && codePoint <= 0xd7af) return HANGUL
  if (codePoint >= 0x20000 && codePoint <= 0x3ffff) return HAN
  return OTHER
}

/**
 * Lower-cases, composes (NFC) and keeps letters, marks and the apostrophes inside words; all else becomes one space.
 * Digits, punctuation, emoji and lone surrogates say nothing about a language, so they leave no trace.
 */
export function normalizeText(text: string): string {
  return text
    .normalize('NFC')
    .toLowerCase()
    .replace(/[\u2019\u02bc\uff07]/gu, "'")
    .replace(/[^\p{L}\p{M}']+/gu, ' ')
    .replace(/(?<![\p{L}\p{M}])'+|'+(?![\p{L}\p{M}])/gu, ' ')
    .replace(/ +/g, ' ')
    .trim()
}

/** 32-bit FNV-1a step, one UTF-16 code unit at a time. */
function extend(hash: number, unit: number): number {
  const low = Math.imul(hash ^ (unit & 0xff), 0x01000193)
  return Math.imul(low ^ (unit >>> 8), 0x01000193)
}

/** Spreads the bits of a hash, so that its remainder is even over the buckets. */
function spread(hash: number): number {
  let mixed = hash ^ (hash >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/**
 * The features of one text: n-grams of each word with its boundaries, hashed, their counts scaled to a vector of length one;
 * and the share of each writing system among the letters.
 *
 * @example
 * textFeatures('Where is the station?', { buckets: 28_000, maxOrder: 4, maxCharacters: 300 })
 */
export function textFeatures(text: string, parameters: TextFeatureParameters): TextFeatures {
  const { buckets, maxOrder, maxCharacters } = parameters
  const normalized = normalizeText(text.slice(0, maxCharacters))
  if (normalized === '') return { ids: new Int32Array(0), weights: new Float32Array(0) }
  const range = buckets - SCRIPT_BUCKETS
  const counts = new Map<number, number>()
  const scripts = new Map<number, number>()
  let letters = 0
  for (const character of normalized) {
    if (character === ' ' || character === "'") continue
    const script = scriptOf(character.codePointAt(0) ?? 0)
    scripts.set(script, (scripts.get(script) ?? 0) + 1)
    letters += 1
  }
  for (const word of normalized.split(' ')) {
    const padded = ` ${word} `
    for (let start = 0; start < padded.length; start += 1) {
      let hash = 0x811c9dc5 | 0
      const end = Math.min(padded.length, start + maxOrder)
      for (let position = start; position < end; position += 1) {
        hash = extend(hash, padded.charCodeAt(position))
        if (position === start && (start === 0 || start === padded.length - 1)) continue
        const id = SCRIPT_BUCKETS + (spread(hash) % range)
        counts.set(id, (counts.get(id) ?? 0) + 1)
      }
    }
  }
  let sumOfSquares = 0
  for (const count of counts.values()) sumOfSquares += count
  const scale = 1 / Math.sqrt(sumOfSquares)
  const size = counts.size + scripts.size
  const ids = new Int32Array(size)
  const weights = new Float32Array(size)
  let next = 0
  for (const [script, count] of scripts) {
    ids[next] = script
    weights[next] = count / letters
    next += 1
  }
  for (const [id, count] of counts) {
    ids[next] = id
    weights[next] = Math.sqrt(count) * scale
    next += 1
  }
  return { ids, weights }
}
