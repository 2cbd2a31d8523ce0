import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput } from '../inference/task.js'
import { answerWithin } from '../stores/answer-within.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { TextChange } from './guard-texts.js'

/**
 * What a guard says: `pass`; a change; a refusal, whose reason the caller reads; or labels for the log and the metrics, which may go with a change or a refusal too.
 */
export type Verdict<Change> =
  | 'pass'
  | { readonly change: Change; readonly flag?: readonly string[] }
  | { readonly refuse: string; readonly flag?: readonly string[] }
  | { readonly flag: readonly string[] }

/**
 * A change of a request: of each of its texts, which keeps the caller's own body for upstreams that speak its API; or fields in the place of those it has, and then the request is put into the
 * upstream's words anew.
 */
export type InputChange = TextChange | Partial<Omit<GenerateInput, 'native'>>

/** Puts `text` in the place of what stands from `start` to before `end`. */
export interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** What a piece of an answer is of. */
export interface AnswerPlace {
  /** `arguments` of a tool's call are JSON text; what an edit puts in there is escaped for it. `name`: of the tool. */
  readonly channel: 'text' | 'reasoning' | 'arguments' | 'name'
  /** What was let out before it in this channel, as the model wrote it: `window` characters at most. */
  readonly before: string
  /** Nothing follows. */
  readonly final: boolean
  readonly call: Call
}

/** How a guard reads an answer: all of its texts, before any of them is let out. */
export interface OutputGuard {
  /** So many characters of a stream are held back, so that what the guard looks for is found across its pieces: the longest of it. 1 to 65,536. */
  readonly window: number
  /** Characters that have to come before it is asked again; they are held back too. 1 to 65,536. Default 1. */
  readonly step?: number
  /**
   * Says what of a text is wrong. Edits stand in their order and do not overlap. One that begins within the last `window` characters waits, unless the text is `final`: the guard sees it again, with what
   * follows.
   */
  check(text: string, place: AnswerPlace): Awaitable<Verdict<readonly Edit[]>>
}

/** Reads, changes, refuses or labels what goes to a model and what comes from it. */
export interface Guard {
  /** For errors, logs and metrics: 1 to 64 letters, digits, `_`, `.` and `-`. */
  readonly name: string
  /** Asked before a model is. `call` is the same object for the answer: what a guard remembers in between goes by it, in a `WeakMap`. */
  input?(input: GenerateInput, call: Call): Awaitable<Verdict<InputChange>>
  /** Or a function, asked when the request has passed: `undefined` if this answer is not looked at. */
  readonly output?: OutputGuard | ((call: Call) => OutputGuard | undefined)
  /** How long it may take to say something, milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /** What becomes of a request that it could not read: it threw, was late or said nothing that is a verdict. `pass` lets it through as it is, and labels it `failed`. Default `refuse`. */
  readonly onError?: 'refuse' | 'pass'
}

const span = z.int().min(1).max(65_536)
const fn = z.custom<unknown>((value) => typeof value === 'function', 'must be a function')
const outputSchema = z.looseObject({ window: span, step: span.optional(), check: fn })

/** For errors, logs and metrics. */
export const guardName = z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, "_", "." and "-"')

/** The schema of a guard. Members of its own are its author's. */
export const guardSchema = z
  .looseObject({
    name: guardName,
    input: fn.optional(),
    output: z.union([fn, outputSchema]).optional(),
    timeoutMs: z.int().min(1).max(600_000).optional(),
    onError: z.enum(['refuse', 'pass']).optional(),
  })
  .refine(({ input, output }) => input !== undefined || output !== undefined, 'must have input or output')

/**
 * Asks a guard, within its time. What it says besides its change is done here: labels are told, a refusal is thrown.
 *
 * @returns the change, if there is one
 * @throws TollgateError `guard_refused`; `guard_failed` if it could not say anything and does not pass then
 */
export async function ask<Change, Made>(
  { name, timeoutMs = 5_000, onError }: Guard,
  what: 'request' | 'answer',
  call: Call,
  hook: () => Awaitable<Verdict<Change>>,
  make: (change: Change) => Made,
): Promise<Made | undefined> {
  let verdict: Exclude<Verdict<Change>, 'pass'>
  let made: Made | undefined
  try {
    const said = hook()
    const read = isPromise(said) ? await answerWithin(said, timeoutMs) : said
    if (read === 'pass') return undefined
    verdict = read
    if ('change' in verdict) made = make(verdict.change)
    else if (!('refuse' in verdict || 'flag' in verdict)) throw new TypeError('A guard said nothing that is a verdict.')
  } catch (cause) {
    if (call.signal.aborted) throw abortError(call.signal)
    call.flagged?.(name, ['failed'])
    if (onError === 'pass') return undefined
    throw new TollgateError('guard_failed', `The guard ${name} could not check the ${what}.`, { cause })
  }
  if (verdict.flag !== undefined) call.flagged?.(name, verdict.flag)
  if (!('refuse' in verdict)) return made
  call.flagged?.(name, ['refused'])
  throw new TollgateError('guard_refused', `The guard ${name} refuses the ${what}: ${verdict.refuse}`)
}
