import { type ExpectedUsage, expectedUsage } from '../http/expected-usage.js'
import { type Principal, principalKey } from '../principal.js'
import { completionTokens, totalTokens, type Usage } from '../usage.js'
import { mostTokens } from '../wire/token-count.js'
import { type LimitEstimate, learned } from './limit-estimate.js'
import type { LimitSubject } from './limit-rules.js'

/** A guess that is further off is none. */
const mostOfExpected = 100

/** What a request is expected to use of a model, by its body, its route and what the caller's others have used. */
export interface LimitExpectation {
  /** `undefined`: nothing is known of it. */
  usage(subject: LimitSubject, estimate: LimitEstimate | undefined): Usage | undefined
  /** A call of the model is over, and used this for so many answers. */
  learn(subject: LimitSubject, model: string, usage: Usage, answers: number): void
}

/** @param initialOutputTokens of an answer that is not bounded, as long as nothing is known */
export function limitExpectation(initialOutputTokens: number): LimitExpectation {
  const outputs = learned(initialOutputTokens)
  // Of what a route has told; at first all of it.
  const parts = learned(1)

  return {
    usage({ principal, target, context }, estimate) {
      const caller = callerOf(principal)
      const expected = expectedUsage(context)
      const model = target?.model ?? estimate?.model ?? ''
      const ofText = estimate === undefined ? undefined : usageOf(estimate, () => outputs.expect(caller, model))
      if (expected === undefined) return ofText
      const { usage, learnedAs, storedTokens = 0 } = expected
      const told = learnedAs === undefined ? usage : times(usage, parts.expect(caller, `${model}\n${learnedAs}`))
      const all = { inputTokens: 0, outputTokens: 0, ...ofText, ...told, estimated: true }
      return { ...all, inputTokens: all.inputTokens + storedTokens }
    },
    learn({ principal, context }, model, usage, answers) {
      const caller = callerOf(principal)
      outputs.learn(caller, model, completionTokens(usage) / answers)
      const expected = expectedUsage(context)
      const part = expected?.learnedAs === undefined ? undefined : partOf(usage, expected)
      if (part !== undefined) parts.learn(caller, `${model}\n${expected?.learnedAs}`, part)
    },
  }
}

function usageOf(estimate: LimitEstimate, unbounded: () => number): Usage {
  const { inputTokens, inputAudioTokens = 0, keptFor, maxOutputTokens, answers = 1, speaks = false } = estimate
  const output = maxOutputTokens ?? Math.min(mostTokens, Math.ceil(unbounded() * answers))
  return {
    inputTokens: keptFor === undefined ? inputTokens : 0,
    ...(keptFor === '5m' ? { cacheWriteTokens: inputTokens } : undefined),
    ...(keptFor === '1h' ? { cacheWrite1hTokens: inputTokens } : undefined),
    ...(inputAudioTokens > 0 ? { inputAudioTokens } : undefined),
    ...(speaks ? { outputTokens: 0, outputAudioTokens: output } : { outputTokens: output }),
    estimated: true,
  }
}

function times(usage: ExpectedUsage['usage'], part: number): ExpectedUsage['usage'] {
  return Object.fromEntries(Object.entries(usage).map(([bucket, count]) => [bucket, Math.ceil(count * part)]))
}

/** How much of what was expected was used: by rows, where the upstream counts in them, else by tokens. */
function partOf(usage: Usage, { usage: told }: ExpectedUsage): number | undefined {
  const [used, expected] =
    usage.rows === undefined
      ? [totalTokens(usage), totalTokens({ inputTokens: 0, outputTokens: 0, ...told, estimated: true })]
      : [usage.rows, told.rows ?? 0]
  return expected > 0 ? Math.min(used / expected, mostOfExpected) : undefined
}

function callerOf(principal: Principal | undefined): string {
  return principal === undefined ? '' : principalKey(principal)
}
