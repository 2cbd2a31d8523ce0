import { hash, randomUUID } from 'node:crypto'
import { z } from 'zod'
import { checkedOptions, functionOption } from '../options.js'
import { askedBefore, checkActual, checkClaim, mixedKinds } from './check-claim.js'
import { limitSlots } from './limit-slots.js'
import type { Claim, ClaimState, LimitStore, Reservation, Verdict, WindowClaim } from './limit-store.js'
import { memoryBuckets } from './memory-buckets.js'
import { memoryLeases } from './memory-leases.js'
import { memoryWindows } from './memory-windows.js'
import { settledNumbers } from './settled-numbers.js'

export interface MemoryLimitStoreOptions {
  /** Keys held at once, 1 to 16,000,000. Default 100,000, which is about 20 MB. */
  readonly maxKeys?: number
  /**
   * Milliseconds that only go forward, from any beginning. Default `performance.now`, which the setting of the clock does not move. One that
   * steps back is taken to have stood still.
   */
  readonly now?: () => number
  /** Milliseconds since the epoch, to compare with the ends of windows. Default `Date.now`. */
  readonly wallNow?: () => number
}

/** A {@link LimitStore} that answers at once. */
export interface MemoryLimitStore extends LimitStore {
  /** Keys held now; those that are whole again are dropped as others come and go. */
  readonly size: number
  take(claims: readonly Claim[]): Verdict
  settle(reservation: Reservation, actual: readonly number[]): readonly ClaimState[]
  release(reservation: Reservation): void
  renew(reservation: Reservation): boolean
  peek(claims: readonly Claim[]): readonly ClaimState[]
  close(): void
}

const schema = z.strictObject({
  maxKeys: z.int().min(1).max(16_000_000).default(100_000),
  now: functionOption<() => number>().optional(),
  wallNow: functionOption<() => number>().optional(),
})

const kinds = { bucket: 0, window: 1, lease: 2 } as const

/** Longer keys are kept by their digest, so that `maxKeys` bounds the bytes too. */
const longestKey = 256

/** The marks of a claim for which nothing was taken, and of a shadow that did not fit. */
const untaken = -1
const skipped = -2

/**
 * Limits in the memory of this process. Synchronous; no timer at all.
 *
 * Memory is bounded by `maxKeys`: a key that is whole again is the first to go; if none is, the one that would be whole soonest is
 * forgotten (at worst its caller begins anew that much earlier) and a process warning says so once. Windows outlast buckets by this rule:
 * a flood of addresses does not push out a budget.
 *
 * Buckets and leases run on a clock that the setting of the system's does not move. Windows are what the claims name; the last two of a
 * key are kept, so that a clock set forth and back across an end neither frees nor loses a count.
 * Units reserved in a window that has ended are not given back to the next one; units used beyond the reservation are charged to the newest.
 *
 * A reservation can be settled while the store has made fewer than 33,521,664 others since; later than that it does nothing.
 *
 * @throws TollgateError `config_invalid` for wrong options; from its methods, for a claim that is none (a cost that is negative or not
 * finite, a key used for two kinds)
 * @example const limits = rateLimit({ store: memoryLimitStore({ maxKeys: 1_000_000 }) })
 */
export function memoryLimitStore(options: MemoryLimitStoreOptions = {}): MemoryLimitStore {
  const {
    maxKeys,
    now: clock = () => performance.now(),
    wallNow = Date.now,
  } = checkedOptions('memoryLimitStore', schema, options)
  const idPrefix = `${randomUUID().slice(0, 13)}-`
  const settled = settledNumbers()
  let reservations = 0
  let stamps = 0
  const nextStamp = (): number => {
    stamps += 1
    return stamps
  }
  let lastRaw = Number.NEGATIVE_INFINITY
  let steppedBack = 0
  let warned = false

  const slots = limitSlots({
    maxKeys,
    wholeAt(slot, now) {
      const whole = slots.columns.wholeAt[slot] ?? 0
      const kind = slots.columns.kind[slot]
      if (kind === kinds.lease && leases.isEmpty(slot)) return Math.min(whole, now)
      if (kind !== kinds.window) return whole
      // A clock that was set back keeps naming the window for longer.
      return Math.max(whole, now + Math.max(0, (slots.columns.back[slot] ?? 0) - wallNow()))
    },
    onForget() {
      if (warned) return
      warned = true
      process.emitWarning(
        `memoryLimitStore: all ${maxKeys} keys are in use, so those that would be whole soonest are forgotten early. Raise maxKeys.`,
        { code: 'TOLLGATE_LIMITS_FORGOTTEN' },
      )
    },
  })

  const buckets = memoryBuckets(slots, kinds.bucket, nextStamp)
  const windows = memoryWindows(slots, kinds.window, nextStamp)
  const leases = memoryLeases(slots, kinds.lease)

  return {
    get size() {
      return slots.size
    },
    take(claims) {
      const now = monotonic()
      const wall = wallOf(claims)
      slots.sweep(now, 1)
      let allowed = true
      let slot = -1
      let shadows: Set<number> | undefined
      for (let index = 0; index < claims.length; index += 1) {
        const claim = claims[index] as Claim
        slot = check(claim)
        if (fits(claim, slot, now, askedBefore(claims, index, shadows))) continue
        if (claim.shadow === true) {
          shadows ??= new Set()
          shadows.add(index)
        } else allowed = false
      }
      const refused = (claim: Claim, index: number) =>
        stateOf(claim, slotOf(claim), now, wall, askedBefore(claims, index, shadows), false)
      if (!allowed) return { allowed, states: claims.map(refused) }
      reservations += 1
      const id = idPrefix + reservations
      const marks: number[] = []
      const [only] = claims
      // Nearly every request makes one claim: it is looked up once.
      if (only !== undefined && claims.length === 1 && shadows === undefined) {
        slot = charge(only, slot, now, wall, marks)
        return { allowed, states: [stateOf(only, slot, now, wall, 0, true)], reservation: { id, claims, marks } }
      }
      // One claim may push out the slot of another: looked up each time.
      claims.forEach((claim, index) => {
        if (shadows?.has(index) === true) marks.push(skipped, 0)
        else charge(claim, slotOf(claim), now, wall, marks)
      })
      return {
        allowed,
        states: claims.map((claim, index) =>
          shadows?.has(index) === true ? refused(claim, index) : stateOf(claim, slotOf(claim), now, wall, 0, true),
        ),
        reservation: { id, claims, marks },
      }
    },
    settle(reservation, actual) {
      checkActual(reservation.claims, actual)
      return correct(reservation, actual) ? peek(reservation.claims) : []
    },
    release(reservation) {
      correct(reservation, undefined)
    },
    renew(reservation) {
      const { claims, marks } = reservation
      const number = numberOf(reservation)
      if (number === undefined || settled.has(number, reservations)) return false
      const now = monotonic()
      let all = true
      claims.forEach((claim, index) => {
        const [first, second] = marksOf(marks, index)
        if (first === skipped) return
        if (claim.kind === 'lease') all = leases.renew(claim, slotOf(claim), first, now) && all
        else if (claim.kind === 'window' && claim.holdMs !== undefined && first !== untaken) {
          all = windows.renew(claim, slotOf(claim), second, now) && all
        }
      })
      return all
    },
    peek,
    close() {
      slots.clear()
    },
  }

  function peek(claims: readonly Claim[]): readonly ClaimState[] {
    const now = monotonic()
    const wall = wallOf(claims)
    return claims.map((claim) => stateOf(claim, check(claim), now, wall, 0, false))
  }

  function monotonic(): number {
    const raw = clock()
    if (raw < lastRaw) steppedBack += lastRaw - raw
    lastRaw = raw
    return raw + steppedBack
  }

  function wallOf(claims: readonly Claim[]): number {
    for (const { kind } of claims) if (kind === 'window') return wallNow()
    return 0
  }

  /** Refuses what is no claim; returns its slot. */
  function check(claim: Claim): number {
    checkClaim(claim)
    const slot = slotOf(claim)
    if (slot !== -1 && slots.columns.kind[slot] !== kinds[claim.kind]) throw mixedKinds(claim)
    return slot
  }

  function slotOf(claim: Claim): number {
    return slots.find(storedKey(claim.key))
  }

  function fits(claim: Claim, slot: number, now: number, asked: number): boolean {
    if (claim.kind === 'bucket') return buckets.fits(claim, slot, now, asked)
    return claim.kind === 'window' ? windows.fits(claim, slot, now, asked) : leases.fits(claim, slot, now, asked)
  }

  /** The state of a claim; of one that is `taken`, after it. */
  function stateOf(claim: Claim, slot: number, now: number, wall: number, asked: number, taken: boolean): ClaimState {
    const allowed = taken || fits(claim, slot, now, asked)
    if (claim.kind === 'bucket') return buckets.state(claim, slot, now, asked, allowed)
    if (claim.kind === 'window') return windows.state(claim, slot, now, asked, allowed, wall)
    return leases.state(claim, slot, now, asked, allowed)
  }

  /** Takes a claim that fits; returns its slot. */
  function charge(claim: Claim, slot: number, now: number, wall: number, marks: number[]): number {
    if (claim.kind === 'lease') {
      const stamp = nextStamp()
      marks.push(stamp, 0)
      return leases.take(claim, slot, storedKey(claim.key), stamp, now)
    }
    if (claim.cost === 0) {
      marks.push(untaken, 0)
      return slot
    }
    if (claim.kind === 'bucket') {
      const poured = buckets.pour(claim, slot, storedKey(claim.key), claim.cost, now)
      marks.push(slots.columns.born[poured] ?? 0, slots.columns.back[poured] ?? 0)
      return poured
    }
    const isHeld = claim.holdMs !== undefined
    const charged = windows.spend(claim, slot, storedKey(claim.key), isHeld ? 0 : claim.cost, now, wall)
    const stamp = isHeld ? nextStamp() : 0
    if (isHeld) windows.hold(claim, charged, stamp, now)
    marks.push(slots.columns.born[charged] ?? 0, stamp)
    return charged
  }

  /** @returns whether it was the first time */
  function correct(reservation: Reservation, actual: readonly number[] | undefined): boolean {
    const { claims, marks } = reservation
    const number = numberOf(reservation)
    if (number === undefined || !settled.settle(number, reservations)) return false
    const now = monotonic()
    const wall = wallOf(claims)
    claims.forEach((claim, index) => {
      const [first, second] = marksOf(marks, index)
      if (first === skipped) return
      const slot = slotOf(claim)
      const used = actual?.[index] ?? 0
      if (claim.kind === 'lease') leases.free(slot, first, now)
      else if (claim.kind === 'bucket') {
        const change = used - claim.cost
        if (change > 0) buckets.pour(claim, slot, storedKey(claim.key), change, now)
        else if (change < 0) buckets.refund(claim, slot, -change, first, second, now)
      } else settleWindow(claim, slot, used, first, second, now, wall)
    })
    return true
  }

  function settleWindow(
    claim: WindowClaim,
    slot: number,
    used: number,
    born: number,
    stamp: number,
    now: number,
    wall: number,
  ): void {
    const { cost, holdMs } = claim
    if (holdMs === undefined) {
      if (used > cost) windows.overspend(claim, slot, storedKey(claim.key), used - cost, now, wall)
      else if (used < cost) windows.change(slot, used - cost, born)
      return
    }
    windows.letGo(slot, stamp, now)
    // In its own window as far as it was held there; the rest in the one that runs.
    const own = Math.min(used, cost)
    const beyond = used - own + (own > 0 && !windows.change(slot, own, born) ? own : 0)
    if (beyond > 0) windows.overspend(claim, slot, storedKey(claim.key), beyond, now, wall)
  }

  /** Of another process, or from before a restart: nothing of it is left here. */
  function numberOf({ id }: Reservation): number | undefined {
    const number = id.startsWith(idPrefix) ? Number(id.slice(idPrefix.length)) : Number.NaN
    return Number.isInteger(number) && number > 0 && number <= reservations ? number : undefined
  }
}

function marksOf(marks: readonly number[], index: number): readonly [number, number] {
  return [marks[index * 2] ?? untaken, marks[index * 2 + 1] ?? 0]
}

function storedKey(key: string): string {
  return key.length <= longestKey ? key : `sha256:${hash('sha256', key, 'base64url')}`
}
