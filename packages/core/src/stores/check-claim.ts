import { configInvalid } from '../errors.js'
import type { Claim } from './limit-store.js'

/**
 * For stores: refuses what is no claim before anything is taken for it.
 *
 * @throws TollgateError `config_invalid`, naming the rule: no key, or a limit, cost, burst or duration that is negative or not finite
 */
export function checkClaim(claim: Claim): void {
  const { rule, key, limit } = claim
  if (typeof key !== 'string' || key === '') throw configInvalid(`The limit "${rule}" has no key.`)
  checkUnits(limit, 'limit', rule)
  switch (claim.kind) {
    case 'bucket':
      checkUnits(claim.cost, 'cost', rule)
      checkDuration(claim.windowMs, rule)
      if (claim.burst !== undefined) checkUnits(claim.burst, 'burst', rule)
      return
    case 'window':
      checkUnits(claim.cost, 'cost', rule)
      if (!Number.isFinite(claim.startsAt)) throw configInvalid(`The window of "${rule}" has no start.`)
      checkDuration(claim.endsAt - claim.startsAt, rule)
      if (claim.holdMs !== undefined) checkDuration(claim.holdMs, rule)
      return
    case 'lease':
      checkDuration(claim.leaseMs, rule)
      return
    default:
      throw configInvalid(`The limit "${rule}" is of no known kind.`)
  }
}

/**
 * For stores: refuses the actual costs of a settle unless there is one for each claim, 0 or more.
 *
 * @throws TollgateError `config_invalid`
 */
export function checkActual(claims: readonly Claim[], actual: readonly number[]): void {
  if (actual.length !== claims.length) {
    throw configInvalid(`settle: ${actual.length} actual costs for ${claims.length} claims; give one for each.`)
  }
  for (const [index, { rule }] of claims.entries()) checkUnits(actual[index], 'actual cost', rule)
}

/**
 * What the claims before this one, in the same request, ask of the same key.
 *
 * @param skipped indices of shadows that do not fit, and ask for nothing
 * @throws TollgateError `config_invalid` if one of them is of another kind
 */
export function askedBefore(claims: readonly Claim[], index: number, skipped?: ReadonlySet<number>): number {
  let asked = 0
  for (let before = 0; before < index; before += 1) {
    if (skipped?.has(before) === true) continue
    const other = claims[before] as Claim
    const claim = claims[index] as Claim
    if (other.key !== claim.key) continue
    if (other.kind !== claim.kind) throw mixedKinds(claim)
    asked += other.kind === 'lease' ? 1 : other.cost
  }
  return asked
}

/** One key, two kinds. */
export function mixedKinds({ rule }: Claim): Error {
  return configInvalid(`The key of "${rule}" is used for a limit of another kind; use another key.`)
}

function checkUnits(units: unknown, what: string, rule: string): void {
  if (typeof units === 'number' && units >= 0 && units <= Number.MAX_SAFE_INTEGER) return
  throw configInvalid(
    `The ${what} of "${rule}" must be a number from 0 to ${Number.MAX_SAFE_INTEGER}, not ${String(units)}.`,
  )
}

function checkDuration(milliseconds: number, rule: string): void {
  if (milliseconds > 0 && milliseconds < Number.POSITIVE_INFINITY) return
  throw configInvalid(`The limit "${rule}" must last some milliseconds, not ${String(milliseconds)}.`)
}
