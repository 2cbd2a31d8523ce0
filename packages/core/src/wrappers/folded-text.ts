/** A text as it reads, whatever characters it is written in. */
export interface FoldedText {
  readonly text: string
  /** Where in the text as it was written a place of `text` is. */
  origin(index: number): number
}

/** What is not seen, in other shapes or other scripts; and `@` as URLs have it. */
const odd = /%40|(?!\p{ASCII})(?:[\p{Cf}\p{Zs}\p{Nd}\p{Pd}\u2212\ufe6b\uff01-\uff5e]|\u034f|[\ufe00-\ufe0f])/gu
const unseen = /\p{Cf}|\u034f|[\ufe00-\ufe0f]/u
const wide = /[\uff01-\uff0c\uff0e-\uff5e]/
/** From a wide character to a plain one. */
const narrower = 0xff01 - 0x21

/**
 * The text with plain digits, spaces and letters in the place of wide ones, dashes between numbers as `-`, and nothing where there is nothing to see: soft hyphens, marks of no width. `undefined` if it is so already.
 */
export function foldedText(text: string): FoldedText | undefined {
  let folded = ''
  let at = 0
  /** From where on how much has been left out, in the order of the text. */
  const froms: number[] = []
  const origins: number[] = []
  for (const { index, 0: match } of text.matchAll(odd)) {
    const end = index + match.length
    folded += text.slice(at, index) + plainOf(match, text[index - 1], text[end])
    at = end
    froms.push(folded.length)
    origins.push(end)
  }
  folded += text.slice(at)
  if (folded === text) return undefined
  return {
    text: folded,
    origin(index) {
      const mark = lastUpTo(froms, index)
      return mark === -1 ? index : (origins[mark] as number) + index - (froms[mark] as number)
    },
  }
}

function plainOf(character: string, before = '', after = ''): string {
  if (character === '%40' || character === '\ufe6b') return '@'
  if (wide.test(character)) return String.fromCharCode(character.charCodeAt(0) - narrower)
  if (unseen.test(character)) return ''
  if (digit.test(character)) return String(digitOf(character.codePointAt(0) as number))
  if (/\p{Zs}/u.test(character)) return ' '
  // Dashes: between words they may stand for a pause.
  return /[\p{Nd})]/u.test(before) && /[\p{Nd}(]/u.test(after) ? '-' : character
}

const digit = /\p{Nd}/u

/** Unicode has the ten digits of each script in a row. */
function digitOf(codePoint: number): number {
  let first = codePoint
  while (digit.test(String.fromCodePoint(first - 1))) first -= 1
  return (codePoint - first) % 10
}

/** The index of the last of ascending numbers that is no more than `most`; -1 for none. */
function lastUpTo(numbers: readonly number[], most: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((numbers[middle] as number) <= most) low = middle + 1
    else high = middle
  }
  return low - 1
}
