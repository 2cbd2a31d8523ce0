import { z } from 'zod'
import type { Call } from '../inference/model.js'
import { tasks } from '../inference/task.js'
import { functionOption } from '../options.js'
import { hedgeSettings } from '../wrappers/hedged.js'
import { shadowSettings } from '../wrappers/shadowed.js'
import { guards } from './guard-config.js'

const target = z.strictObject({
  model: z.string().min(1).describe('`{provider}/{model}`, or another name of `models`.'),
  weight: z
    .number()
    .min(0)
    .max(1_000_000)
    .default(1)
    .describe('Its share of the calls, beside those of the others. 0: only where the others fail.'),
  tiers: z.array(z.string()).optional().describe('Only for callers of these tiers.'),
  tenants: z.array(z.string()).optional().describe('Only for callers of these tenants.'),
  when: functionOption<(input: never, call: Call) => boolean>()
    .optional()
    .describe('In TypeScript alone: `(input, call) => boolean`, whether it is for a call.'),
})

export const route = z.strictObject({
  targets: z
    .array(z.union([z.string().min(1), target]))
    .min(1)
    .describe('The models that a call may go to; a text is a model alone.'),
  task: z.enum(tasks).default('generate').describe('What all of them do: `media` is pictures and sound.'),
  strategy: z
    .enum(['ordered', 'weighted', 'latency', 'least-busy', 'cheapest'])
    .default('ordered')
    .describe(
      'Who is first; the others follow where it fails. `ordered`: as they are given; `weighted`: by lot and weight; `latency`: the faster of two drawn by weight; `least-busy`: with the fewest calls under way; `cheapest`: by what the call would cost.',
    ),
  affinity: z
    .enum(['principal', 'prompt'])
    .optional()
    .describe(
      'Instead of the lot of `weighted` the same target for the same caller, or for the same beginning of a prompt (which the provider then has in its cache).',
    ),
  fallbackOn: z
    .array(z.enum(['sick', 'throttled', 'credential', 'context', 'content', 'guard', 'refused']))
    .optional()
    .describe('The kinds of failure that make it turn to the next target. Absent: all but `content` and `guard`.'),
  maxAttempts: z
    .int()
    .min(1)
    .max(50)
    .default(6)
    .describe('How often a call is sent to a model at most, retries, hedges and routes within this one together.'),
  hedge: hedgeSettings
    .extend({
      target: z.string().min(1).optional().describe('Whom, by a name as of a target. Absent: the route again.'),
    })
    .optional()
    .describe(
      'Asks again beside an attempt that is silent; whose output comes first answers, and what the other has used is paid for. Absent: never.',
    ),
  shadow: shadowSettings
    .extend({ to: z.string().min(1).describe('Whom, by a name as of a target.') })
    .optional()
    .describe(
      'Sends a share of the calls to another model too, after they were answered; nobody sees its answer and nobody is billed. Absent: none.',
    ),
  guards: guards.describe(
    'Read what goes to the route, whichever target answers, and what comes from it; before all others.',
  ),
  description: z
    .string()
    .max(1_000)
    .optional()
    .describe('A sentence for people, in lists of models. At most 1,000 characters.'),
})
