/** One policy of the server's rate limits, as its `RateLimit` and `RateLimit-Policy` headers tell it. */
export interface RateLimitPolicy {
  readonly name: string
  /** What may be used in one window. */
  readonly limit?: number
  readonly windowMs?: number
  /** What is counted: `requests` unless the server says otherwise. */
  readonly unit?: string
  /** What is left now. */
  readonly remaining?: number
  /** Until more becomes available. */
  readonly resetMs?: number
}

/** What the server said of its rate limits with one answer. */
export interface RateLimit {
  /** The policy closest to exhaustion first. */
  readonly policies: readonly RateLimitPolicy[]
}

/**
 * Reads `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): RFC 9651 lists of strings with parameters. A malformed
 * field is ignored whole, as RFC 9651, 4.2 asks. `undefined` if neither says anything.
 */
export function parseRateLimit(headers: Headers): RateLimit | undefined {
  const current = parseList(headers.get('ratelimit'))
  const declared = parseList(headers.get('ratelimit-policy'))
  const policies = new Map<string, RateLimitPolicy>()
  for (const { name, parameters } of declared) {
    const unit = parameters.get('qu') ?? [...parameters].find(([key]) => key.endsWith('-unit'))?.[1]
    policies.set(name, {
      name,
      ...count('limit', parameters.get('q'), 1),
      ...count('windowMs', parameters.get('w'), 1000),
      ...(typeof unit === 'string' ? { unit } : {}),
    })
  }
  for (const { name, parameters } of current) {
    policies.set(name, {
      ...(policies.get(name) ?? { name }),
      ...count('remaining', parameters.get('r'), 1),
      ...count('resetMs', parameters.get('t'), 1000),
    })
  }
  if (policies.size === 0) return undefined
  return { policies: [...policies.values()].sort((one, other) => share(one) - share(other)) }
}

function count<Name extends string>(name: Name, value: string | number | undefined, factor: number) {
  return (typeof value === 'number' ? { [name]: value * factor } : {}) as { [K in Name]?: number }
}

/** The part that is left, 0 to 1; a policy that does not say counts as untouched. */
function share({ remaining, limit }: RateLimitPolicy): number {
  if (remaining === undefined) return 2
  return limit === undefined || limit === 0 ? (remaining === 0 ? 0 : 1) : remaining / limit
}

interface Item {
  readonly name: string
  readonly parameters: ReadonlyMap<string, string | number>
}

const itemName = /\s*"((?:[^"\\]|\\["\\])*)"/y
const parameter = /;\s*([a-z*][a-z0-9_.*-]*)(?:=(?:(-?\d{1,15})(?![\d.])|"((?:[^"\\]|\\["\\])*)"|:[A-Za-z0-9+/=]*:))?/y
const separator = /\s*(,|$)/y

function parseList(field: string | null): readonly Item[] {
  if (field === null) return []
  const items: Item[] = []
  let at = 0
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at
    const match = pattern.exec(field)
    if (match !== null) at = pattern.lastIndex
    return match
  }
  for (;;) {
    const name = take(itemName)
    if (name === null) return []
    const parameters = new Map<string, string | number>()
    for (let match = take(parameter); match !== null; match = take(parameter)) {
      const [, key = '', integer, text] = match
      if (integer !== undefined) parameters.set(key, Number(integer))
      else if (text !== undefined) parameters.set(key, unquoted(text))
    }
    items.push({ name: unquoted(name[1] ?? ''), parameters })
    const end = take(separator)
    if (end === null) return []
    if (end[1] === '') return items
  }
}

function unquoted(text: string): string {
  return text.replace(/\\(["\\])/g, '$1')
}
