import type { Edit } from './guard.js'
import { type Finder, findAll } from './pii-patterns.js'

/** What was taken out of the texts of one request, and how it is put back. */
export interface Redaction {
  /** The text with a placeholder for each value; the same value has the same one throughout. */
  redact(text: string): string
  /** Which placeholders to put back. Those that this request did not make stay. */
  restorations(text: string): Edit[]
  restore(text: string): string
  /** The kinds that were found, in lower case. */
  found(): string[]
  /** Characters of the longest placeholder; 0 without any. */
  longest(): number
}

/** What looks like a placeholder; its parts are bounded. */
const placeholders = /\[[A-Z][A-Z0-9_]{0,40}_\d{1,9}\]/g

/** A placeholder that the caller wrote: it gets one too, or it would be put back as what it does not stand for. */
const literal = 'LITERAL'
const literals: Finder = function* (text) {
  for (const { index, 0: match } of text.matchAll(placeholders)) yield [index, index + match.length]
}

/**
 * @param finders by the kind that placeholders name, in capitals
 * @param restores will values be put back?
 */
export function redaction(finders: ReadonlyArray<readonly [string, Finder]>, restores: boolean): Redaction {
  const all = restores ? [...finders, [literal, literals] as const] : finders
  const byValue = new Map<string, string>()
  const byPlaceholder = new Map<string, string>()
  const counts = new Map<string, number>()
  /** A request holds a text twice, in its own words and in ours. */
  const known = new Map<string, string>()
  let longest = 0

  const placeholderOf = (kind: string, value: string): string => {
    const key = `${kind}\n${value}`
    const before = byValue.get(key)
    if (before !== undefined) return before
    const count = (counts.get(kind) ?? 0) + 1
    const placeholder = `[${kind}_${count}]`
    counts.set(kind, count)
    byValue.set(key, placeholder)
    byPlaceholder.set(placeholder, value)
    longest = Math.max(longest, placeholder.length)
    return placeholder
  }
  const restorations = (text: string): Edit[] => {
    const edits: Edit[] = []
    for (const { index: start, 0: placeholder } of text.matchAll(placeholders)) {
      const value = byPlaceholder.get(placeholder)
      if (value !== undefined) edits.push({ start, end: start + placeholder.length, text: value })
    }
    return edits
  }

  return {
    redact(text) {
      const before = known.get(text)
      if (before !== undefined) return before
      const edits = findAll(text, all).map(({ start, end, kind }) => ({
        start,
        end,
        text: placeholderOf(kind, text.slice(start, end)),
      }))
      const redacted = edited(text, edits)
      known.set(text, redacted)
      return redacted
    },
    restorations,
    restore: (text) => edited(text, restorations(text)),
    found: () => [...counts.keys()].filter((kind) => kind !== literal).map((kind) => kind.toLowerCase()),
    longest: () => longest,
  }
}

function edited(text: string, edits: readonly Edit[]): string {
  let made = ''
  let at = 0
  for (const edit of edits) {
    made += text.slice(at, edit.start) + edit.text
    at = edit.end
  }
  return at === 0 ? text : made + text.slice(at)
}
