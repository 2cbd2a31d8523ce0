import type { ServerResponse } from 'node:http'
import { LRUCache } from 'lru-cache'
import { isTollgateError, TollgateError } from '../errors.js'
import { addRateLimitReports, type LimitReport, type RateLimitFieldStyle } from '../http/rate-limit-fields.js'
import type { Principal } from '../principal.js'
import { answerWithin } from '../stores/answer-within.js'
import { isPromise } from '../stores/awaitable.js'
import type { Claim, ClaimState, LimitStore, Reservation, Verdict } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { limitRefusal, type Refused } from './limit-refusal.js'
import type { CompiledRule, LimitMeasure, LimitSubject } from './limit-rules.js'

/** Something that is worth telling. */
export type LimitEvent = {
  readonly rule: string
  readonly measure: LimitMeasure
  readonly principal: Principal | undefined
  readonly requestId: string
} & (
  | { readonly type: 'refused' | 'shadow-refused'; readonly limit: number; readonly used: number }
  /** What was spent of a calendar limit has passed a part of it, once in each window. */
  | { readonly type: 'threshold'; readonly threshold: number; readonly limit: number; readonly spent: number }
  /** The store failed, and the rule's `onStoreError` holds. */
  | { readonly type: 'store-failed'; readonly policy: 'open' | 'closed' | 'local' }
)

/** A rule and what it asks of the store. */
export interface Entry {
  readonly rule: CompiledRule
  readonly claim: Claim
}

/** What was taken for a request, in one step of one store. */
export interface Taken {
  readonly store: LimitStore
  readonly reservation: Reservation
  readonly entries: readonly Entry[]
}

interface TakingOptions {
  readonly store: LimitStore
  readonly storeTimeoutMs: number
  readonly instances: number
  readonly styles: readonly RateLimitFieldStyle[]
  readonly onEvent: ((event: LimitEvent) => void) | undefined
}

/** For so long a store that failed is not asked again, and a refusal is repeated without asking. */
const pauseMs = 1_000

/** Takes entries of rules from a store, and says what holds where it refuses or fails. */
export function limitTaking({ store, storeTimeoutMs, instances, styles, onEvent }: TakingOptions) {
  const local = memoryLimitStore()
  const denied = new LRUCache<string, { readonly until: number; readonly state: ClaimState }>({ max: 10_000 })
  let isRemote = false
  let failedAt = Number.NEGATIVE_INFINITY
  let warnedAt = Number.NEGATIVE_INFINITY

  const tell = (event: LimitEvent): void => {
    try {
      onEvent?.(event)
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
  const about = ({ principal, context }: LimitSubject, { name, measure }: CompiledRule) => ({
    rule: name,
    measure,
    principal,
    requestId: context.id,
  })

  const report = (res: ServerResponse, entries: readonly Entry[], states: readonly ClaimState[]) => {
    if (styles.length === 0) return {}
    const reports: LimitReport[] = []
    for (let index = 0; index < entries.length; index += 1) {
      const { rule, claim } = entries[index] as Entry
      const policy = rule.shadow ? undefined : rule.policy(claim)
      const state = states[index]
      if (policy !== undefined && state !== undefined) reports.push({ policy, state })
    }
    return reports.length === 0 ? {} : addRateLimitReports(res, styles, reports)
  }

  /** Tells the thresholds that a charge has passed: of all processes that charge, one sees each. */
  const crossed = (subject: LimitSubject, rule: CompiledRule, state: ClaimState, charged: number): void => {
    const { used, held, limit } = state
    const spent = used - held
    for (const threshold of rule.thresholds) {
      const mark = threshold * limit
      if (spent - charged < mark && mark <= spent) {
        tell({ ...about(subject, rule), type: 'threshold', threshold, limit, spent })
      }
    }
  }

  /** Acts on a verdict: throws if it refuses. */
  const decide = (subject: LimitSubject, res: ServerResponse, entries: readonly Entry[], verdict: Verdict): void => {
    if (verdict.allowed && !entries.some(({ rule }) => rule.shadow || rule.calendar !== undefined)) {
      report(res, entries, verdict.states)
      return
    }
    const refused: Refused[] = []
    entries.forEach(({ rule, claim }, index) => {
      const state = verdict.states[index] as ClaimState
      if (state.allowed) return
      const { limit, used } = state
      if (rule.shadow) {
        if (verdict.allowed) tell({ ...about(subject, rule), type: 'shadow-refused', limit, used })
        return
      }
      refused.push({ rule, state })
      tell({ ...about(subject, rule), type: 'refused', limit, used })
      // A place may become free at any moment; and what is too much for one request may not be for the next.
      if (claim.kind === 'lease' || claim.cost > 1) return
      const until = performance.now() + Math.min(pauseMs, state.retryAfterMs)
      denied.set(claim.key, { until, state })
    })
    const fields = report(res, entries, verdict.states)
    if (!verdict.allowed) throw limitRefusal(refused, fields)
    entries.forEach(({ rule, claim }, index) => {
      const state = verdict.states[index]
      if (state?.allowed !== true || claim.kind !== 'window' || claim.holdMs !== undefined) return
      crossed(subject, rule, state, claim.cost)
    })
  }

  /** What can be taken without the store that failed: nothing, or a share that is counted here. */
  const withoutStore = (
    subject: LimitSubject,
    res: ServerResponse,
    entries: readonly Entry[],
    error?: unknown,
  ): Taken | undefined => {
    for (const { rule } of entries) tell({ ...about(subject, rule), type: 'store-failed', policy: rule.onStoreError })
    if (entries.some(({ rule }) => rule.onStoreError === 'closed' && !rule.shadow)) throw unavailable(error)
    const counted = entries
      .filter(({ rule }) => rule.onStoreError === 'local')
      .map(({ rule, claim }) => ({ rule, claim: shareOf(claim, instances) }))
    if (counted.length === 0) return undefined
    const verdict = local.take(counted.map(({ claim }) => claim))
    decide(subject, res, counted, verdict)
    const { reservation } = verdict
    return reservation === undefined ? undefined : { store: local, reservation, entries: counted }
  }

  const failed = (subject: LimitSubject, res: ServerResponse, entries: readonly Entry[], error: unknown) => {
    failedAt = performance.now()
    const { log } = subject.context
    if (log !== undefined) log.error({ err: error }, 'the limit store failed')
    else if (failedAt - warnedAt >= 60_000) {
      warnedAt = failedAt
      const reason = error instanceof Error ? error.message : String(error)
      process.emitWarning(`limits: the store failed (${reason}); what \`onStoreError\` says holds until it answers.`, {
        code: 'TOLLGATE_STORE_FAILED',
      })
    }
    return withoutStore(subject, res, entries, error)
  }

  /** Refuses from memory what the store refused a moment ago. Only ever refuses. */
  const refuseAgain = (subject: LimitSubject, res: ServerResponse, entries: readonly Entry[]): void => {
    if (denied.size === 0) return
    const known = entries.flatMap((entry): Array<Entry & Refused> => {
      const { rule, claim } = entry
      const found = rule.shadow || claim.kind === 'lease' || claim.cost !== 1 ? undefined : denied.get(claim.key)
      const still = found !== undefined && performance.now() < found.until && found.state.limit === claim.limit
      return still ? [{ ...entry, state: found.state }] : []
    })
    if (known.length === 0) return
    for (const { rule, state } of known) {
      tell({ ...about(subject, rule), type: 'refused', limit: state.limit, used: state.used })
    }
    const states = known.map(({ state }) => state)
    throw limitRefusal(known, report(res, known, states))
  }

  return {
    crossed,
    /** Takes all of the entries, or throws what refuses. `undefined`: there was nothing to take. */
    take(
      subject: LimitSubject,
      res: ServerResponse,
      entries: readonly Entry[],
    ): Taken | undefined | Promise<Taken | undefined> {
      if (entries.length === 0) return undefined
      if (performance.now() - failedAt < pauseMs) return withoutStore(subject, res, entries)
      if (isRemote) refuseAgain(subject, res, entries)
      const taken = (verdict: Verdict): Taken | undefined => {
        decide(subject, res, entries, verdict)
        const { reservation } = verdict
        return reservation === undefined ? undefined : { store, reservation, entries }
      }
      let answer: Verdict | Promise<Verdict>
      try {
        answer = store.take(entries.map(({ claim }) => claim))
      } catch (error) {
        if (isTollgateError(error, 'config_invalid')) throw error
        return failed(subject, res, entries, error)
      }
      if (!isPromise(answer)) return taken(answer)
      isRemote = true
      const answering = answer
      return answerWithin(answering, storeTimeoutMs).then(taken, (error: unknown) => {
        if (isTollgateError(error, 'config_invalid')) throw error
        // What it takes all the same is not used.
        answering
          .then(({ reservation }) => (reservation === undefined ? undefined : store.release(reservation)))
          .catch(() => {})
        return failed(subject, res, entries, error)
      })
    },
    /** The states as they are, taking nothing. Rejects with `store_unavailable`. */
    async peek(entries: readonly Entry[]): Promise<readonly ClaimState[]> {
      try {
        return await answerWithin(Promise.resolve(store.peek(entries.map(({ claim }) => claim))), storeTimeoutMs)
      } catch (error) {
        throw unavailable(error)
      }
    },
  }
}

function unavailable(cause: unknown): TollgateError {
  return new TollgateError('store_unavailable', 'Limits cannot be checked right now. Try again shortly.', {
    retryAfterMs: pauseMs,
    cause,
  })
}

function shareOf(claim: Claim, instances: number): Claim {
  const limit = claim.limit / instances
  if (claim.kind !== 'bucket') return { ...claim, limit }
  return { ...claim, limit, burst: (claim.burst ?? claim.limit) / instances }
}
