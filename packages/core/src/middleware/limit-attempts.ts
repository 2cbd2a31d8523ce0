import type { ServerResponse } from 'node:http'
import { expectedUsage } from '../http/expected-usage.js'
import type { RequestEnd } from '../http/observe.js'
import { type Branch, type EarlierCalls, earlierCalls, type RecordedCall } from '../http/record-usage.js'
import type { Principal } from '../principal.js'
import { isPromise } from '../stores/awaitable.js'
import type { Claim, ClaimState } from '../stores/limit-store.js'
import type { Target } from '../target.js'
import { completionTokens, promptTokens, totalTokens, type Usage } from '../usage.js'
import type { LimitEstimate } from './limit-estimate.js'
import type { CompiledRule, LimitSubject } from './limit-rules.js'
import type { Lane, Running } from './limit-running.js'
import type { Entry, limitTaking, Taken } from './limit-taking.js'

interface AttemptsOptions {
  readonly rules: readonly CompiledRule[]
  readonly taking: ReturnType<typeof limitTaking>
  /** Units that rules are asked for beforehand, for a request of this size. */
  costsOf(subject: LimitSubject, of: LimitEstimate | undefined): (rule: CompiledRule) => number
  entriesOf(
    subject: LimitSubject,
    address: () => string,
    wanted: (rule: CompiledRule) => boolean,
    cost: (rule: CompiledRule) => number,
  ): Entry[]
  nanoUsdOf(principal: Principal | undefined, target: Target, usage: Usage): number | undefined
  /** Told what a model did for a caller, in so many answers. */
  learn(subject: LimitSubject, model: string, usage: Usage, answers: number): void
}

/** What the attempts of a request take from limits and what they have used of it: each model that is called takes for itself, and all is settled when the request is over. */
export function limitAttempts({ rules, taking, costsOf, entriesOf, nanoUsdOf, learn }: AttemptsOptions) {
  const laneOf = ({ lanes }: Running, branch: Branch): Lane => {
    let lane = lanes.get(branch)
    if (lane === undefined) {
      lane = { ofModel: [], dispatched: undefined, own: undefined, refused: false, over: false }
      lanes.set(branch, lane)
    }
    return lane
  }
  /** Units of a rule that this is; `undefined` if nothing is known. */
  const unitsUsed = (
    rule: CompiledRule,
    { usage, nanoUsd }: Used,
    target: Target | undefined,
    { principal }: LimitSubject,
  ): number | undefined => {
    if (rule.measure === 'requests' || rule.measure === 'concurrency') return undefined
    if (rule.measure !== 'money') return usage === undefined ? undefined : tokensOf(rule.measure, usage)
    if (nanoUsd !== undefined) return nanoUsd
    return usage === undefined || target === undefined ? undefined : nanoUsdOf(principal, target, usage)
  }
  /** An attempt that is over while the request is not: what it has used is its model's. Of what counts for all models that much is settled as was taken for it; the rest is at the end. */
  const endAttempt = ({ subject, settled }: Running, lane: Lane): void => {
    const { ofModel, dispatched, own } = lane
    const earlier = earlierCalls(subject.context)
    lane.ofModel = []
    lane.own = undefined
    lane.dispatched = undefined
    for (const taken of ofModel) {
      const actual = taken.entries.map(({ rule, claim }) => {
        if (rule.perModel) {
          if (own === undefined || rule.measure === 'concurrency') return 0
          const used = { usage: own.usage, nanoUsd: own.costNanoUsd }
          return unitsUsed(rule, used, dispatched, subject) ?? unitsOf(claim)
        }
        const before = settled.get(rule.name) ?? 0
        const part = Math.max(0, Math.min(unitsOf(claim), spentOf(rule, earlier) - before))
        settled.set(rule.name, before + part)
        return part
      })
      if (own === undefined && actual.every((units) => units === 0)) giveBack(taken, subject)
      else settle(taken, actual, subject)
    }
  }

  /** What the model that is called asks for: its own rules, and of the others what was not reserved for it: money that its price needs beyond that, what attempts before have used, and what others beside it may use. */
  const dispatch = (
    run: Running,
    target: Target,
    branch: Branch,
    address: () => string,
    res: ServerResponse,
  ): void | Promise<void> => {
    const lane = laneOf(run, branch)
    const subject = { ...run.subject, target }
    endAttempt(run, lane)
    lane.dispatched = target
    // An earlier target may have been refused, and this one taken instead.
    lane.refused = false
    const earlier = earlierCalls(run.subject.context)
    const isMore = !run.isWhole || expectedUsage(run.subject.context) !== undefined
    const beside = [...run.lanes.values()].filter((other) => other !== lane)
    const reserved = (parts: readonly Taken[], { name }: CompiledRule) =>
      parts
        .flatMap(({ entries }) => entries)
        .reduce((sum, { rule, claim }) => (rule.name === name ? sum + unitsOf(claim) : sum), 0)
    const costOf = costsOf(subject, run.estimate)
    const more = (rule: CompiledRule): number => {
      if (rule.perModel) return costOf(rule)
      if (rule.measure === 'requests' || rule.measure === 'concurrency') return 0
      const before = spentOf(rule, earlier) - (run.settled.get(rule.name) ?? 0)
      // Tokens of text are reserved at the arrival, whatever the model; what a route knows comes after it.
      const own = rule.measure === 'money' || isMore ? costOf(rule) - reserved(run.taken, rule) : 0
      return beside.reduce((sum, other) => {
        const { dispatched, ofModel } = other
        const isOpen = dispatched !== undefined && other.own === undefined && !other.refused
        const open = isOpen ? costsOf({ ...run.subject, target: dispatched }, run.estimate)(rule) : 0
        return sum + open - reserved(ofModel, rule)
      }, before + own)
    }
    const wanted = (rule: CompiledRule) => rule.perModel || more(rule) > 0
    const entries = entriesOf(subject, address, wanted, (rule) => Math.max(0, more(rule)))
    if (entries.length === 0) return undefined
    const keep = (taken: Taken | undefined) => {
      if (taken === undefined) return
      if (lane.over) giveBack(taken, subject)
      else lane.ofModel = [taken]
    }
    const refuse = (error: unknown) => {
      lane.refused = true
      throw error
    }
    try {
      const taken = taking.take(subject, res, entries)
      return isPromise(taken) ? taken.then(keep, refuse) : keep(taken)
    } catch (error) {
      return refuse(error)
    }
  }

  const finish = (run: Running, end: RequestEnd): void => {
    const { subject, taken, settled } = run
    const lanes = [...run.lanes.values()]
    for (const lane of lanes) lane.over = true
    const { context } = subject
    const dispatched = lanes.find((lane) => lane.dispatched !== undefined)?.dispatched
    const { usage, costNanoUsd: nanoUsd, target = dispatched } = context
    const isCached = context.cache === 'hit' || context.cache === 'collapsed'
    if (usage !== undefined && !isCached && target !== undefined) {
      learn(subject, target.model, usage, run.estimate?.answers ?? 1)
    }
    const failed = end.aborted || end.status >= 400 || context.error !== undefined
    /** What a rule was really used by; of what nobody told, all that was reserved, if there was a call and it did not fail. */
    const usedOf = (rule: CompiledRule, reserved: number, used: Used, of: Target | undefined): number => {
      if (rule.measure === 'requests') return reserved
      if (rule.measure === 'concurrency' || isCached) return 0
      const units = unitsUsed(rule, used, of, subject)
      return units ?? (used.usage === undefined && (failed || dispatched === undefined) ? 0 : reserved)
    }
    // What is counted in requests was charged at the arrival, and nothing of it changes.
    if (lanes.length === 0 && taken.every(({ entries }) => entries.every(({ rule }) => rule.measure === 'requests')))
      return
    const parts = [
      ...taken.map((part) => ({ part, lane: undefined })),
      ...lanes.flatMap((lane) => lane.ofModel.map((part) => ({ part, lane }))),
    ]
    // Refused by the last model: an attempt before it may have used something all the same.
    if (usage === undefined && lanes.length > 0 && lanes.every(({ refused }) => refused)) {
      for (const { part } of parts) giveBack(part, subject)
      return
    }
    const [first] = parts
    // Nearly always all was taken at once: each rule bears what it was used by.
    if (first !== undefined && parts.length === 1 && first.lane === undefined) {
      const used = { usage, nanoUsd }
      const actual = first.part.entries.map(({ rule, claim }) =>
        Math.max(0, usedOf(rule, unitsOf(claim), used, target) - (settled.get(rule.name) ?? 0)),
      )
      settle(first.part, actual, subject)
      return
    }
    const left = new Map<string, number>()
    for (const rule of rules) {
      if (rule.perModel) continue
      const claims = parts.flatMap(({ part }) => part.entries).filter(({ rule: { name } }) => name === rule.name)
      const reserved = claims.reduce((sum, { claim }) => sum + unitsOf(claim), 0)
      if (claims.length === 0) continue
      const all = usedOf(rule, reserved, { usage, nanoUsd }, target)
      left.set(rule.name, Math.max(0, all - (settled.get(rule.name) ?? 0)))
    }
    parts.forEach(({ part, lane }, index) => {
      const later = new Set(
        parts.slice(index + 1).flatMap(({ part: { entries } }) => entries.map(({ rule }) => rule.name)),
      )
      const actual = part.entries.map(({ rule, claim }) => {
        if (rule.perModel) {
          const own = { usage: lane?.own?.usage, nanoUsd: lane?.own?.costNanoUsd }
          return usedOf(rule, unitsOf(claim), own, lane?.own?.target ?? lane?.dispatched)
        }
        const all = left.get(rule.name) ?? 0
        // The last part of a rule bears what is over.
        const own = later.has(rule.name) ? Math.min(all, unitsOf(claim)) : all
        left.set(rule.name, all - own)
        return own
      })
      settle(part, actual, subject)
    })
  }

  const settle = ({ store: from, reservation, entries }: Taken, actual: readonly number[], subject: LimitSubject) => {
    const settled = (states: readonly ClaimState[]) => {
      entries.forEach(({ rule, claim }, index) => {
        const state = states[index]
        if (state === undefined || claim.kind !== 'window' || claim.holdMs === undefined) return
        taking.crossed(subject, rule, state, actual[index] ?? 0)
      })
    }
    guarded(subject, () => {
      const answer = from.settle(reservation, actual)
      return isPromise(answer) ? answer.then(settled) : settled(answer)
    })
  }
  const giveBack = ({ store: from, reservation }: Taken, subject: LimitSubject) =>
    guarded(subject, () => from.release(reservation))

  return {
    dispatch,
    /** What the model of an attempt has used is known. */
    used(run: Running, call: RecordedCall): void {
      laneOf(run, call.branch).own = call
    },
    /** One of the attempts that go on beside each other is over. */
    end(run: Running, branch: Branch): void {
      const lane = run.lanes.get(branch)
      if (lane === undefined) return
      lane.over = true
      endAttempt(run, lane)
      run.lanes.delete(branch)
    },
    finish,
  }
}

/** What a call came to, as far as it is known. */
interface Used {
  readonly usage: Usage | undefined
  readonly nanoUsd: number | undefined
}

/** Settling goes on behind the answer: what fails there is told to the log. */
function guarded({ context }: LimitSubject, work: () => unknown): void {
  const log = (error: unknown) => context.log?.error({ err: error }, 'what a request used was not settled')
  try {
    const done = work()
    if (isPromise(done)) done.then(undefined, log)
  } catch (error) {
    log(error)
  }
}

/** Units that attempts before have used of a rule over all models. */
function spentOf({ measure }: CompiledRule, earlier: EarlierCalls | undefined): number {
  if (earlier === undefined || measure === 'requests' || measure === 'concurrency') return 0
  return measure === 'money' ? (earlier.costNanoUsd ?? 0) : tokensOf(measure, earlier.usage)
}

/** Units of a measure of tokens. */
export function tokensOf(measure: 'tokens' | 'inputTokens' | 'outputTokens', usage: Usage): number {
  if (measure === 'tokens') return totalTokens(usage)
  return measure === 'inputTokens' ? promptTokens(usage) : completionTokens(usage)
}

function unitsOf(claim: Claim): number {
  return claim.kind === 'lease' ? 1 : claim.cost
}
