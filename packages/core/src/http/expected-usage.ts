import type { Usage } from '../usage.js'
import type { RequestContext } from './context.js'

/** What a call is going to use that its body does not tell in tokens of text. */
export interface ExpectedUsage {
  /** The most of it: seconds of sound, pictures, rows. What is left out is taken as limits estimate it from the body. */
  readonly usage: Partial<Omit<Usage, 'estimated'>>
  /**
   * What kind of guess this is, where `usage` cannot be known beforehand: what part of it the same caller's calls of this kind have really used is learnt, and reserved the next time. Absent: `usage` is
   * known.
   */
  readonly learnedAs?: string
  /** Input that a body only names, because the upstream has it stored, tokens: comes to what limits estimate from the body. Default 0. */
  readonly storedTokens?: number
}

const expectedKey = Symbol.for('tollgate.expected-usage')

interface Expecting extends RequestContext {
  [expectedKey]?: ExpectedUsage
}

/**
 * For routes, and handlers that call an SDK by hand: tells before `dispatching` what a call will use, for limits to reserve. Counts are whole numbers ≥ 0.
 *
 * @example
 * expectUsage(context, { usage: { outputTokens: 0, rows: pictures } })
 * await dispatching(context, { provider: 'openai', model: 'dall-e-2' })
 */
export function expectUsage(context: RequestContext, expected: ExpectedUsage): void {
  ;(context as Expecting)[expectedKey] = expected
}

/** For middlewares: what was told by {@link expectUsage}. */
export function expectedUsage(context: RequestContext): ExpectedUsage | undefined {
  return (context as Expecting)[expectedKey]
}
