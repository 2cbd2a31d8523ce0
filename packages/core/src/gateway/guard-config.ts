import { z } from 'zod'
import { type Guard, guardSchema } from '../wrappers/guard.js'
import { patternName, redactSettings } from '../wrappers/redact-pii.js'

function isPattern(source: string): boolean {
  try {
    return new RegExp(source, 'u') instanceof RegExp
  } catch {
    return false
  }
}

const redact = redactSettings.extend({
  type: z.literal('redact').describe('Takes personal data and secrets out of what goes to models.'),
  patterns: z
    .record(patternName, z.string().refine(isPattern, 'must be a regular expression'))
    .default({})
    .describe(
      'Regular expressions of your own (of JavaScript, with the flag `u`), by the name that their placeholders have in capitals. How long one takes on a text that means it ill is yours to know.',
    ),
})

/** What goes to models, and what comes from them, is read by these, in their order. */
export const guards = z
  .array(
    z.union([
      redact,
      // In TypeScript: functions. There is no word for them in JSON.
      z.custom<Guard>((value) => guardSchema.safeParse(value).success, 'must be a guard, or of a known type'),
    ]),
  )
  .optional()
