import { configInvalid } from '../errors.js'

/** Names of models that callers use, and what a provider knows them by. */
export interface NameMap {
  /** The provider's own name; `undefined` for a name that is none of these. */
  own(name: string): string | undefined
  /** The names that callers may use for one of the provider's, of those that are listed. */
  publicNames(own: string): readonly string[]
  /** Those without a star. */
  readonly exact: ReadonlyMap<string, string>
  /** It takes any name at all. */
  readonly isOpen: boolean
}

interface Pattern {
  readonly written: string
  readonly before: string
  readonly after: string
}

/**
 * Reads a list of names, or a record of public and own names. A `*` stands for any text, once in a name: `claude-*`, or `{ 'anthropic/*': '*' }`. Exact names win, then longer patterns.
 *
 * @throws TollgateError `config_invalid` for a second star, and for a star that only one side has
 */
export function nameMap(given: readonly string[] | Readonly<Record<string, string>>): NameMap {
  const pairs = Array.isArray(given) ? given.map((name): [string, string] => [name, name]) : Object.entries(given)
  const exact = new Map<string, string>()
  const patterns: Array<readonly [Pattern, Pattern]> = []
  for (const [name, own] of pairs) {
    if (!name.includes('*') && !own.includes('*')) exact.set(name, own)
    else patterns.push([patternOf(name), patternOf(own)])
  }
  patterns.sort(([one], [other]) => other.written.length - one.written.length)
  return {
    exact,
    isOpen: patterns.some(([{ written }]) => written === '*'),
    own(name) {
      const known = exact.get(name)
      if (known !== undefined) return known
      for (const [outside, inside] of patterns) {
        const middle = starOf(outside, name)
        if (middle !== undefined) return `${inside.before}${middle}${inside.after}`
      }
      return undefined
    },
    publicNames(own) {
      const names = [...exact].filter(([, known]) => known === own).map(([name]) => name)
      for (const [outside, inside] of patterns) {
        const middle = starOf(inside, own)
        if (middle !== undefined) names.push(`${outside.before}${middle}${outside.after}`)
      }
      return [...new Set(names)]
    },
  }
}

function patternOf(written: string): Pattern {
  const [before = '', after, ...more] = written.split('*')
  if (after === undefined || more.length > 0) {
    throw configInvalid(
      `inferenceService: '${written}': a star stands once, in the public name and in the provider's own.`,
    )
  }
  return { written, before, after }
}

/** What the star stands for; not nothing. */
function starOf({ before, after }: Pattern, name: string): string | undefined {
  if (name.length <= before.length + after.length) return undefined
  if (!name.startsWith(before) || !name.endsWith(after)) return undefined
  return name.slice(before.length, name.length - after.length)
}
