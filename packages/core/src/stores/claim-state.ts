import type { BucketClaim, ClaimState, LeaseClaim, WindowClaim } from './limit-store.js'

/** Sums of fractions are off by less than this part of the whole. */
const slack = 1e-9

/** Does a cost fit, with `used` units gone (and asked for by earlier claims of the request)? */
export function fitsUnits({ limit }: BucketClaim | WindowClaim, most: number, used: number, cost: number): boolean {
  return limit > 0 && used + cost <= most * (1 + slack)
}

/** The state of a bucket with `level` units not yet refilled, `asked` more of which are asked for by earlier claims. */
export function bucketState(claim: BucketClaim, level: number, asked: number, allowed: boolean): ClaimState {
  const { rule, key, limit, burst = limit, cost } = claim
  const unitMs = claim.windowMs / limit
  const possible = fitsUnits(claim, burst, asked, cost)
  return {
    rule,
    key,
    allowed,
    limit,
    used: level,
    held: 0,
    remaining: unitsLeft(limit, burst, level),
    resetMs: level === 0 ? 0 : wholeMs(level * unitMs),
    retryAfterMs: retryAfterMs(allowed, possible, (level + asked + cost - burst) * unitMs),
  }
}

/** The state of a window with so many units spent, and held besides. `wall` is the time since the epoch. */
export function windowState(
  claim: WindowClaim,
  spent: number,
  held: number,
  asked: number,
  allowed: boolean,
  wall: number,
): ClaimState {
  const { rule, key, limit, cost, endsAt } = claim
  return {
    rule,
    key,
    allowed,
    limit,
    used: spent + held,
    held,
    remaining: unitsLeft(limit, limit, spent + held),
    resetMs: spent + held === 0 ? 0 : wholeMs(endsAt - wall),
    retryAfterMs: retryAfterMs(allowed, fitsUnits(claim, limit, asked, cost), endsAt - wall),
  }
}

/** The state of places of which `held` are taken; the soonest and the last of them end in so many milliseconds. */
export function leaseState(
  claim: LeaseClaim,
  held: number,
  asked: number,
  allowed: boolean,
  soonestMs: number,
  lastMs: number,
): ClaimState {
  const { rule, key, limit } = claim
  return {
    rule,
    key,
    allowed,
    limit,
    used: held,
    held,
    remaining: Math.max(0, Math.floor(limit - held)),
    resetMs: held === 0 ? 0 : wholeMs(lastMs),
    retryAfterMs: retryAfterMs(allowed, asked + 1 <= limit, soonestMs),
  }
}

function retryAfterMs(allowed: boolean, possible: boolean, waitMs: number): number {
  if (allowed) return 0
  return possible ? Math.max(1, wholeMs(waitMs)) : Number.POSITIVE_INFINITY
}

function unitsLeft(limit: number, most: number, used: number): number {
  return limit === 0 ? 0 : Math.max(0, Math.floor((most - used) * (1 + slack) + slack))
}

/** Rounded up, but not for what rounding has added. */
function wholeMs(milliseconds: number): number {
  return Math.max(0, Math.ceil(milliseconds - 1e-6))
}
