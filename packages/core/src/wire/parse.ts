import type { ZodError, ZodType } from 'zod'
import { type FieldError, TollgateError } from '../errors.js'

type Issue = ZodError['issues'][number]

/** A body that is wrong in every place is told so in the first few. */
const maxErrors = 20
const maxPathLength = 200

/**
 * The value as its schema reads it.
 *
 * @param prefix what stands before every path: `query` gives `query.limit`; nothing gives `messages[0].role`
 * @throws TollgateError `invalid_request`, naming every field that is wrong
 * @example const { prompt } = parseWith(inferenceRequest, await jsonBody(req))
 */
export function parseWith<Output>(schema: ZodType<Output>, value: unknown, prefix = ''): Output {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw invalidRequest(fieldErrors(parsed.error, prefix))
}

/** The refusal of a request for its fields; its message names the first ones. */
export function invalidRequest(errors: readonly FieldError[]): TollgateError {
  const words = errors.slice(0, 3).map(({ path, message }) => `${path}: ${message}`)
  const more = errors.length > 3 ? ` (and ${errors.length - 3} more)` : ''
  return new TollgateError('invalid_request', `${words.join('; ')}${more}.`, { errors })
}

/** Is it zod's, from whichever copy? */
export function isZodError(error: unknown): error is ZodError {
  if (typeof error !== 'object' || error === null) return false
  const { name, issues } = error as { name?: unknown; issues?: unknown }
  return (name === 'ZodError' || name === '$ZodError') && Array.isArray(issues)
}

/** What is read, in words: a body of fields, options. */
export interface Reading {
  /** Stands for the path of the whole value. */
  readonly whole: string
  readonly member: string
}

const bodyReading: Reading = { whole: 'body', member: 'field' }

/**
 * What zod found, field by field, in words for people: `expected a number, got a string`. Never repeats a value. At most 20.
 */
export function fieldErrors(error: ZodError, prefix = '', { whole, member }: Reading = bodyReading): FieldError[] {
  const errors: FieldError[] = []
  const root = { prefix, whole, member }
  for (const issue of error.issues) {
    if (errors.length >= maxErrors) break
    errors.push(...ofIssue(issue, root, []))
  }
  return errors.slice(0, maxErrors)
}

interface Root extends Reading {
  readonly prefix: string
}

function ofIssue(issue: Issue, root: Root, parent: readonly PropertyKey[]): FieldError[] {
  const path = [...parent, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, maxErrors).map((key) => ({
      path: written([...path, key], root),
      message: `is not a known ${root.member}: remove it or mend its spelling`,
    }))
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0 && isDefault(issue)) return ofUnion(issue, path, root)
  return [{ path: written(path, root), message: words(issue) }]
}

// The branch that went furthest is the one that was meant; if each failed at its root, all of them are named.
function ofUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  path: readonly PropertyKey[],
  root: Root,
): FieldError[] {
  const branches = issue.errors as ReadonlyArray<readonly Issue[]>
  const meant = branches
    .filter((issues) => issues.length > 0 && !issues.some(failsAtRoot))
    .sort((left, right) => left.length - right.length)[0]
  if (meant !== undefined) return meant.flatMap((each) => ofIssue(each, root, path))
  const expected = branches.flatMap((issues) => issues.filter(failsAtRoot).flatMap(expectation))
  const got = branches.flatMap((issues) => issues.map(received)).find((word) => word !== undefined)
  if (expected.length === 0) return [{ path: written(path, root), message: words(issue) }]
  return [{ path: written(path, root), message: mismatch([...new Set(expected)].join(' or '), got) }]
}

function failsAtRoot(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
}

function expectation(issue: Issue): string[] {
  if (issue.code === 'invalid_type') return [withArticle(issue.expected)]
  return issue.code === 'invalid_value' ? [oneOf(issue.values)] : []
}

function words(issue: Issue): string {
  // A message that the schema's author wrote is better than ours.
  if (!isDefault(issue)) return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return mismatch(withArticle(issue.expected), received(issue))
    case 'invalid_value':
      return mismatch(oneOf(issue.values), undefined)
    case 'too_small':
      return size(issue.origin, 'at least', issue.minimum, issue.inclusive !== false, 'more than')
    case 'too_big':
      return size(issue.origin, 'at most', issue.maximum, issue.inclusive !== false, 'less than')
    case 'invalid_format':
      return format(issue.format, issue.message)
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`
    case 'invalid_union': {
      const { options } = issue as { readonly options?: unknown }
      return Array.isArray(options)
        ? mismatch(oneOf(options), undefined)
        : 'has none of the forms that are allowed here'
    }
    case 'invalid_key':
      return 'has a key that is not allowed'
    case 'invalid_element':
      return 'has an element that is not allowed'
    default:
      return issue.message
  }
}

const ownWords =
  /^(?:Invalid (?:input|option|key in|value in|discriminator|string|number|format|[\w ]+$)|Too (?:small|big)|Unrecognized key)/i

function isDefault(issue: Issue): boolean {
  return issue.code !== 'custom' && ownWords.test(issue.message)
}

function format(name: string, message: string): string {
  if (name === 'regex') return 'has characters or a form that is not allowed'
  // `must start with "x"`: what follows is the schema's, not the caller's.
  const rule = /^Invalid string: (must .+)$/.exec(message)?.[1]
  return rule ?? `must be a valid ${name}`
}

// zod tells what it got only in its message.
function received(issue: Issue): string | undefined {
  return issue.code === 'invalid_type' ? /received (\w+)$/.exec(issue.message)?.[1] : undefined
}

function mismatch(expected: string, got: string | undefined): string {
  if (got === 'undefined') return `is required: expected ${expected}`
  return got === undefined ? `expected ${expected}` : `expected ${expected}, got ${withArticle(got)}`
}

function withArticle(type: string): string {
  const noun = { int: 'whole number', nan: 'NaN', record: 'object' }[type] ?? type
  if (['null', 'undefined', 'NaN', 'Infinity', 'never'].includes(noun)) return noun === 'never' ? 'nothing' : noun
  return `${/^[aeiou]/i.test(noun) ? 'an' : 'a'} ${noun}`
}

function oneOf(values: readonly unknown[]): string {
  const shown = values.slice(0, 20).map((value) => (typeof value === 'string' ? `'${value}'` : String(value)))
  return shown.length === 1 ? String(shown[0]) : `one of ${shown.join(', ')}${values.length > 20 ? ', …' : ''}`
}

function size(origin: string, within: string, limit: number | bigint, inclusive: boolean, beyond: string): string {
  const bound = `${inclusive ? within : beyond} ${limit}`
  const unit = { string: 'character', array: 'item', set: 'item', map: 'entry', file: 'byte' }[origin]
  if (unit === undefined) return `must be ${bound}`
  const many = limit === 1 ? unit : unit === 'entry' ? 'entries' : `${unit}s`
  return `must have ${bound} ${many}`
}

/** Reads like code: `messages[0].role`, `query.limit`, `["a b"].c`; `body` for the value itself. */
function written(path: readonly PropertyKey[], { prefix, whole }: Root): string {
  let text = prefix
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[A-Za-z_$][\w$-]*$/.test(String(step))) text += text === '' ? String(step) : `.${String(step)}`
    else text += `[${JSON.stringify(String(step).slice(0, 64))}]`
    if (text.length > maxPathLength) return `${text.slice(0, maxPathLength)}…`
  }
  return text === '' ? whole : text
}
