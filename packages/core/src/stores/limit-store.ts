import type { Awaitable } from './awaitable.js'

interface ClaimBase {
  /** Name of the rule, told to the caller when it refuses. */
  readonly rule: string
  /** Whose bucket: already holds the tenant (or the address). */
  readonly key: string
  /**
   * Claims of one partition are kept together where a store is spread over several servers (a Redis cluster), so that they can be decided in one step: the tenant, or the
   * address. Default: the key.
   */
  readonly partition?: string
  /** It refuses nothing: where it does not fit it is not charged, and its state says so. For a limit that is tried out. */
  readonly shadow?: boolean
}

/**
 * A bucket that refills steadily: `limit` units per `windowMs`, at most `burst` at once (GCRA). `cost` 0 only looks.
 * A `cost` over `burst` can never pass.
 */
export interface BucketClaim extends ClaimBase {
  readonly kind: 'bucket'
  readonly limit: number
  readonly windowMs: number
  /** Default: `limit`. */
  readonly burst?: number
  /** Units asked for, 0 or more; fractions allowed. */
  readonly cost: number
}

/** At most `limit` units until `endsAt`; then the count begins anew. For calendar budgets: the caller names the window. */
export interface WindowClaim extends ClaimBase {
  readonly kind: 'window'
  readonly limit: number
  /** Start and end of the window this request falls in, milliseconds since the epoch. */
  readonly startsAt: number
  readonly endsAt: number
  readonly cost: number
  /**
   * The cost is only held: what the reservation is settled with is spent, and if it is neither settled, released nor renewed for so long, nothing is (so that a dead
   * process frees it). Default: the cost is spent at once.
   */
  readonly holdMs?: number
}

/** One of `limit` places, held until released or until `leaseMs` have passed (so that a dead process frees it). */
export interface LeaseClaim extends ClaimBase {
  readonly kind: 'lease'
  readonly limit: number
  readonly leaseMs: number
}

export type Claim = BucketClaim | WindowClaim | LeaseClaim

/** What one claim looks like after the decision. A snapshot. */
export interface ClaimState {
  readonly rule: string
  readonly key: string
  readonly allowed: boolean
  readonly limit: number
  /** Units gone, debts included; places taken. */
  readonly used: number
  /** Of them, those that are held for requests which are not settled yet: the rest of a window is spent. */
  readonly held: number
  /** Units left, rounded down, never negative. */
  readonly remaining: number
  /** Milliseconds until the claim is whole again (bucket full, window over, lease ended). */
  readonly resetMs: number
  /** Milliseconds until this claim could pass; 0 if it did. `Infinity`: never (the cost is over the burst, the limit is 0). */
  readonly retryAfterMs: number
}

/** An opaque receipt of what was taken. Plain data, so that it can be kept. */
export interface Reservation {
  readonly id: string
  readonly claims: readonly Claim[]
  /** The store's own notes. */
  readonly marks: readonly number[]
}

export interface Verdict {
  readonly allowed: boolean
  /** One per claim, in their order. On a refusal nothing was taken, whatever a claim's own `allowed` says. A `shadow` may say `false` where the verdict is `true`. */
  readonly states: readonly ClaimState[]
  /** There when allowed. */
  readonly reservation?: Reservation
}

/**
 * Keeps limits; decides nothing but what it is asked. Claims that share a key must agree on kind. Every method may be synchronous.
 *
 * - `take` is atomic over all claims, all or nothing.
 * - `settle` corrects the reservation to the units really used, by claim (in their order; leases are freed). More than reserved is
 *   charged even below zero, a debt that refill pays back; a refund never gives back what has refilled meanwhile. A second settle or
 *   release of the same reservation does nothing.
 *   A hold that ended before it was settled is charged all the same.
 * - `release` gives all of it back, under the same rule.
 * - `renew` lets leases and holds last for their whole time again; resolves with `false` if one of them has ended before (it stays so).
 *
 * Conformance: `@tollgate/core/testing/limit-store`.
 */
export interface LimitStore {
  take(claims: readonly Claim[]): Awaitable<Verdict>
  /** @returns the states after it, one per claim; none if it did nothing */
  settle(reservation: Reservation, actual: readonly number[]): Awaitable<readonly ClaimState[]>
  release(reservation: Reservation): Awaitable<void>
  renew(reservation: Reservation): Awaitable<boolean>
  /** The states as they are, taking nothing. */
  peek(claims: readonly Claim[]): Awaitable<readonly ClaimState[]>
  close(): Awaitable<void>
}
