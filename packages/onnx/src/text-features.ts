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

/**
 * Weights are whole multiples of 1/2048. Times a weight of the table (a whole number up to 127) and summed over all features of
 * 256 characters, every partial sum is then exact in float32: the order of the sum, the filling up of a batch and the
 * processor cannot change a bit of it. (The sum of the weights is at most the root of their number, and 57 × 127 × 2048 < 2^24.)
 */
const weightSteps = 2048

/** Ids below this one stand for writing systems and never collide with an n-gram. */
export const scriptBuckets = 80

const kana = 64
const han = 65
const hangul = 66
const other = 67

/**
 * The writing system of a letter, coarsely: blocks of 128 code points up to U+1FFF, then the large ones of East Asia.
 * A rare ideograph that training never met is still seen to be an ideograph.
 */
function scriptOf(codePoint: number): number {
  if (codePoint < 0x2000) return codePoint >> 7
  if ((codePoint >= 0x3040 && codePoint <= 0x30ff) || (codePoint >= 0xff66 && codePoint <= 0xff9d)) return kana
  if (codePoint >= 0x3400 && codePoint <= 0x9fff) return han
  if (codePoint >= 0xac00 && codePoint <= 0xd7af) return hangul
  if (codePoint >= 0x20000 && codePoint <= 0x3ffff) return han
  return other
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

/**
 * Latin, Greek, Cyrillic, Armenian, Hebrew and Arabic letters, and the space. Languages that share these need long n-grams to be told
 * apart; in the writing systems after them a character says enough, and longer n-grams would only fill the table.
 */
function isAlphabetic(unit: number): boolean {
  return unit < 0x0700 || (unit >= 0x1e00 && unit < 0x2000)
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
  const range = buckets - scriptBuckets
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
      const order = isAlphabetic(padded.charCodeAt(start)) ? maxOrder : 1
      const end = Math.min(padded.length, start + order)
      for (let position = start; position < end; position += 1) {
        const unit = padded.charCodeAt(position)
        if (position > start && !isAlphabetic(unit)) break
        hash = extend(hash, unit)
        if (position === start && (start === 0 || start === padded.length - 1)) continue
        const id = scriptBuckets + (spread(hash) % range)
        counts.set(id, (counts.get(id) ?? 0) + 1)
      }
    }
  }
  // Square roots of the counts, so that one word said ten times does not drown the rest: their squares add up to the total.
  let total = 0
  for (const count of counts.values()) total += count
  const scale = 1 / Math.sqrt(total)
  const size = counts.size + scripts.size
  const ids = new Int32Array(size)
  const weights = new Float32Array(size)
  let next = 0
  for (const [script, count] of scripts) {
    ids[next] = script
    weights[next] = Math.round((count / letters) * weightSteps) / weightSteps
    next += 1
  }
  for (const [id, count] of counts) {
    ids[next] = id
    weights[next] = Math.round(Math.sqrt(count) * scale * weightSteps) / weightSteps
    next += 1
  }
  return { ids, weights }
}

/**
 * The features of a batch as the two tensors of the graph, int32 and float32 [N, L]. L is the longest row's length; shorter rows
 * are filled up with id 0 at weight 0, which adds nothing. This is what the worker thread calls.
 */
export function prepare(texts: readonly string[], parameters: TextFeatureParameters) {
  const rows = texts.map((text) => textFeatures(text, parameters))
  const longest = rows.reduce((length, row) => Math.max(length, row.ids.length), 1)
  const ids = new Int32Array(rows.length * longest)
  const weights = new Float32Array(rows.length * longest)
  rows.forEach((row, index) => {
    ids.set(row.ids, index * longest)
    weights.set(row.weights, index * longest)
  })
  const dims = [rows.length, longest]
  return {
    ids: { type: 'int32' as const, data: ids, dims },
    weights: { type: 'float32' as const, data: weights, dims },
  }
}
