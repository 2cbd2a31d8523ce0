import { z } from 'zod'
import type { Call } from '../inference/model.js'
import { checkedOptions } from '../options.js'
import { type Guard, guardName } from './guard.js'
import { textsOf } from './guard-texts.js'
import { type Finder, type PiiKind, patternFinder, piiFinders, secretFinder } from './pii-patterns.js'
import { type Redaction, redaction } from './redaction.js'

export type { PiiKind } from './pii-patterns.js'

export interface RedactPiiOptions {
  /** For errors, logs and metrics. Default `pii`. */
  readonly name?: string | undefined
  /** Default all. */
  readonly kinds?: readonly PiiKind[] | undefined
  /** Keys of vendors and of Tollgate, web tokens, private keys. Default true. */
  readonly secrets?: boolean | undefined
  /** Patterns of your own, by the name that their placeholders have in capitals. How long one takes on a text that means it ill is yours to know. */
  readonly patterns?: Readonly<Record<string, RegExp>> | undefined
  /** Puts the values back where the answer has their placeholders. Default false. */
  readonly restore?: boolean | undefined
}

const piiKinds = Object.keys(piiFinders) as PiiKind[]

/** The name of a pattern of one's own. */
export const patternName = z.string().regex(/^[A-Za-z][A-Za-z0-9_]{0,39}$/, 'must be 1 to 40 letters, digits and "_"')

/** What of it can be written as data. */
export const redactSettings = z.strictObject({
  name: guardName
    .default('pii')
    .describe('What it is called in errors, logs and metrics: 1 to 64 letters, digits, `_`, `.` and `-`.'),
  kinds: z.array(z.enum(piiKinds)).default(piiKinds).describe('What is taken out, each by its form.'),
  secrets: z
    .boolean()
    .default(true)
    .describe('Takes out keys of vendors and of Tollgate, web tokens and private keys too.'),
  restore: z
    .boolean()
    .default(false)
    .describe('Puts the values back where the answer names their placeholders, for the caller alone.'),
})
const schema = redactSettings.extend({ patterns: z.record(patternName, z.instanceof(RegExp)).default({}) })

/**
 * A guard that takes what tells of people, and secrets, out of everything that goes to a model: `[EMAIL_1]` in their place, the same for the same value throughout a request. With `restore` they are put
 * back where the answer names them, in texts, thoughts and arguments of tools. By patterns: what has no form of its own, as names and streets, it does not find; nor what is within pictures and files.
 *
 * @throws TollgateError `config_invalid`
 * @example guarded(model, { guards: [redactPii({ kinds: ['email', 'phone'], patterns: { staff: /\bEMP-\d{6}\b/ }, restore: true })] })
 */
export function redactPii(options: RedactPiiOptions = {}): Guard {
  const { name, kinds: wanted, secrets, patterns, restore } = checkedOptions('redactPii', schema, options)
  const finders: Array<readonly [string, Finder]> = [
    ...wanted.map((kind) => [kind.toUpperCase(), piiFinders[kind]] as const),
    ...(secrets ? [['SECRET', secretFinder] as const] : []),
    ...Object.entries(patterns).map(([own, pattern]) => [own.toUpperCase(), patternFinder(pattern)] as const),
  ]
  const redactions = new WeakMap<Call, Redaction>()

  return {
    name,
    input(input, call) {
      const taken = redaction(finders, restore)
      for (const text of textsOf(input)) taken.redact(text)
      if (taken.longest() === 0) return 'pass'
      redactions.set(call, taken)
      return { change: taken.redact, flag: taken.found() }
    },
    ...(restore
      ? {
          output(call: Call) {
            const taken = redactions.get(call)
            if (taken === undefined) return undefined
            return { window: taken.longest(), check: (text: string) => ({ change: taken.restorations(text) }) }
          },
        }
      : undefined),
  }
}
