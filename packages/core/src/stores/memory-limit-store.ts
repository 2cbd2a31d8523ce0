import { hash, randomUUID } from 'node:crypto'
import { z } from 'zod'
import { checkedOptions, functionOption } from '../options.js'
import { addHole, type Hole, unserved } from './bucket-holes.js'
import { askedBefore, checkActual, checkClaim, mixedKinds } from './check-claim.js'
import { bucketState, fitsUnits, leaseState, windowState } from './claim-state.js'
import { limitSlots } from './limit-slots.js'
import type {
  BucketClaim,
  Claim,
  ClaimState,
  LeaseClaim,
  LimitStore,
  Reservation,
  Verdict,
  WindowClaim,
} from './limit-store.js'
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
  settle(reservation: Reservation, actual: readonly number[]): void
  release(reservation: Reservation): void
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

interface PlainWindow {
  startsAt: number
  endsAt: number
  spent: number
  born: number
}

interface Leases {
  /** When each ends, by its number. */
  readonly ends: Map<number, number>
  soonest: number
}

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
  let lastRaw = Number.NEGATIVE_INFINITY
  let steppedBack = 0
  let warned = false

  const slots = limitSlots({
    maxKeys,
    wholeAt(slot, now) {
      const whole = slots.columns.wholeAt[slot] ?? 0
      if (slots.columns.kind[slot] !== kinds.window) return whole
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
      for (let index = 0; index < claims.length; index += 1) {
        const claim = claims[index] as Claim
        slot = check(claim)
        if (!fits(claim, slot, now, askedBefore(claims, index))) allowed = false
      }
      if (!allowed) {
        return {
          allowed,
          states: claims.map((claim, index) =>
            stateOf(claim, slotOf(claim), now, wall, askedBefore(claims, index), false),
          ),
        }
      }
      reservations += 1
      const id = idPrefix + reservations
      const marks: number[] = []
      const [only] = claims
      // Nearly every request makes one claim: it is looked up once.
      if (only !== undefined && claims.length === 1) {
        slot = charge(only, slot, now, wall, marks)
        return { allowed, states: [stateOf(only, slot, now, wall, 0, true)], reservation: { id, claims, marks } }
      }
      // One claim may push out the slot of another: looked up each time.
      for (const claim of claims) charge(claim, slotOf(claim), now, wall, marks)
      return {
        allowed,
        states: claims.map((claim) => stateOf(claim, slotOf(claim), now, wall, 0, true)),
        reservation: { id, claims, marks },
      }
    },
    settle(reservation, actual) {
      checkActual(reservation.claims, actual)
      correct(reservation, actual)
    },
    release(reservation) {
      correct(reservation, undefined)
    },
    peek(claims) {
      const now = monotonic()
      const wall = wallOf(claims)
      return claims.map((claim) => stateOf(claim, check(claim), now, wall, 0, false))
    },
    close() {
      slots.clear()
    },
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
    if (claim.kind === 'lease') return heldOf(slot, now) + asked + 1 <= claim.limit
    const { limit, cost } = claim
    return claim.kind === 'window'
      ? fitsUnits(claim, limit, spentOf(slot, claim) + asked, cost)
      : fitsUnits(claim, claim.burst ?? limit, levelOf(slot, claim, now) + asked, cost)
  }

  /** The state of a claim; of one that is `taken`, after it. */
  function stateOf(claim: Claim, slot: number, now: number, wall: number, asked: number, taken: boolean): ClaimState {
    const allowed = taken || fits(claim, slot, now, asked)
    if (claim.kind === 'bucket') return bucketState(claim, levelOf(slot, claim, now), asked, allowed)
    if (claim.kind === 'window') return windowState(claim, spentOf(slot, claim), asked, allowed, wall)
    const held = heldOf(slot, now)
    if (held === 0) return leaseState(claim, 0, asked, allowed, 0, 0)
    const { extra, wholeAt } = slots.columns
    return leaseState(claim, held, asked, allowed, (extra[slot] as Leases).soonest - now, (wholeAt[slot] ?? 0) - now)
  }

  /** Takes a claim that fits; returns its slot. */
  function charge(claim: Claim, slot: number, now: number, wall: number, marks: number[]): number {
    if (claim.kind === 'lease') {
      stamps += 1
      marks.push(stamps, 0)
      return hold(claim, slot, stamps, now)
    }
    if (claim.cost === 0) {
      marks.push(-1, 0)
      return slot
    }
    const { kind, cost } = claim
    const charged = kind === 'bucket' ? pour(claim, slot, cost, now) : spend(claim, slot, cost, now, wall)
    marks.push(slots.columns.born[charged] ?? 0, slots.columns.back[charged] ?? 0)
    return charged
  }

  function hold(claim: LeaseClaim, known: number, stamp: number, now: number): number {
    const ends = now + claim.leaseMs
    const slot = known === -1 ? slots.add(storedKey(claim.key), kinds.lease, ends, now) : known
    const { extra, wholeAt } = slots.columns
    const leases = (extra[slot] as Leases | undefined) ?? { ends: new Map(), soonest: ends }
    extra[slot] = leases
    leases.ends.set(stamp, ends)
    leases.soonest = Math.min(leases.soonest, ends)
    wholeAt[slot] = Math.max(wholeAt[slot] ?? 0, ends)
    return slot
  }

  /** Adds units to the end of a bucket's queue. */
  function pour(claim: BucketClaim, known: number, units: number, now: number): number {
    const before = levelOf(known, claim, now)
    const level = before + units
    const wholeAt = now + (level * claim.windowMs) / claim.limit
    const slot = known === -1 ? slots.add(storedKey(claim.key), kinds.bucket, wholeAt, now) : known
    const { columns } = slots
    if (before === 0) {
      stamps += 1
      columns.born[slot] = stamps
      columns.back[slot] = 0
      columns.extra[slot] = undefined
    }
    columns.level[slot] = level
    columns.at[slot] = now
    columns.back[slot] = (columns.back[slot] ?? 0) + units
    columns.wholeAt[slot] = wholeAt
    return slot
  }

  /** Charges a window, beginning it if it is a new one. */
  function spend(claim: WindowClaim, known: number, units: number, now: number, wall: number): number {
    // A caller that names a window which is over by our clock goes by another clock: believe it for the length of the window.
    const wholeAt = now + (claim.endsAt > wall ? claim.endsAt - wall : claim.endsAt - claim.startsAt)
    const fresh = known === -1
    const slot = fresh ? slots.add(storedKey(claim.key), kinds.window, wholeAt, now) : known
    const { columns } = slots
    const other = columns.extra[slot] as PlainWindow | undefined
    const startsAt = columns.at[slot] ?? 0
    if (fresh || (claim.startsAt > startsAt && claim.startsAt !== other?.startsAt)) {
      if (!fresh && (other === undefined || other.startsAt < startsAt)) columns.extra[slot] = windowAt(slot)
      stamps += 1
      setWindow(slot, { startsAt: claim.startsAt, endsAt: claim.endsAt, spent: 0, born: stamps })
    } else if (claim.startsAt === other?.startsAt) {
      columns.extra[slot] = windowAt(slot)
      setWindow(slot, other)
    }
    columns.level[slot] = (columns.level[slot] ?? 0) + units
    columns.wholeAt[slot] = Math.max(columns.wholeAt[slot] ?? 0, wholeAt)
    return slot
  }

  function windowAt(slot: number): PlainWindow {
    const { at, back, level, born } = slots.columns
    return { startsAt: at[slot] ?? 0, endsAt: back[slot] ?? 0, spent: level[slot] ?? 0, born: born[slot] ?? 0 }
  }

  function setWindow(slot: number, window: PlainWindow): void {
    const { columns } = slots
    columns.at[slot] = window.startsAt
    columns.back[slot] = window.endsAt
    columns.level[slot] = window.spent
    columns.born[slot] = window.born
  }

  function levelOf(slot: number, { limit, windowMs }: BucketClaim, now: number): number {
    if (slot === -1) return 0
    const { level, at } = slots.columns
    const refilled = ((now - (at[slot] ?? 0)) * limit) / windowMs
    const left = (level[slot] ?? 0) - refilled
    // What rounding alone has left would keep the bucket from being whole when its time has come.
    return left > limit * 1e-12 ? left : 0
  }

  function spentOf(slot: number, { startsAt }: WindowClaim): number {
    if (slot === -1) return 0
    const { at, level, extra } = slots.columns
    const other = extra[slot] as PlainWindow | undefined
    if (other?.startsAt === startsAt) return other.spent
    // A window older than both is charged like the current one: never a fresh count for a clock that goes back.
    return startsAt > (at[slot] ?? 0) ? 0 : (level[slot] ?? 0)
  }

  function heldOf(slot: number, now: number): number {
    const leases = slot === -1 ? undefined : (slots.columns.extra[slot] as Leases | undefined)
    if (leases === undefined) return 0
    if (leases.soonest <= now) {
      leases.soonest = Number.POSITIVE_INFINITY
      for (const [stamp, ends] of leases.ends) {
        if (ends <= now) leases.ends.delete(stamp)
        else leases.soonest = Math.min(leases.soonest, ends)
      }
    }
    return leases.ends.size
  }

  function correct({ id, claims, marks }: Reservation, actual: readonly number[] | undefined): void {
    const number = id.startsWith(idPrefix) ? Number(id.slice(idPrefix.length)) : Number.NaN
    // Of another process, or from before a restart: nothing of it is left here.
    if (!(Number.isInteger(number) && number > 0 && number <= reservations)) return
    if (!settled.settle(number, reservations)) return
    const now = monotonic()
    const wall = wallOf(claims)
    claims.forEach((claim, index) => {
      const first = marks[index * 2] ?? -1
      const second = marks[index * 2 + 1] ?? 0
      if (claim.kind === 'lease') {
        freeLease(claim, first, now)
        return
      }
      const change = (actual?.[index] ?? 0) - claim.cost
      if (change > 0) {
        if (claim.kind === 'bucket') pour(claim, slotOf(claim), change, now)
        else overspend(claim, change, now, wall)
      } else if (change < 0) {
        if (claim.kind === 'bucket') refundBucket(claim, -change, first, second, now)
        else refundWindow(claim, -change, first)
      }
    })
  }

  function freeLease(claim: LeaseClaim, stamp: number, now: number): void {
    const slot = slotOf(claim)
    if (slot === -1) return
    const { columns } = slots
    const leases = columns.extra[slot] as Leases | undefined
    leases?.ends.delete(stamp)
    if (leases?.ends.size !== 0) return
    columns.wholeAt[slot] = now
    slots.hasten(slot)
  }

  function refundBucket(claim: BucketClaim, units: number, born: number, position: number, now: number): void {
    const slot = slotOf(claim)
    const { columns } = slots
    if (slot === -1 || columns.born[slot] !== born) return
    const level = levelOf(slot, claim, now)
    const holes = columns.extra[slot] as Hole[] | undefined
    const back = Math.min(units, level, unserved(level, columns.back[slot] ?? 0, holes, position))
    if (back <= 0) return
    columns.level[slot] = level - back
    columns.at[slot] = now
    columns.wholeAt[slot] = now + ((level - back) * claim.windowMs) / claim.limit
    columns.extra[slot] = addHole(holes, { position, units: back })
    slots.hasten(slot)
  }

  function refundWindow(claim: WindowClaim, units: number, born: number): void {
    const slot = slotOf(claim)
    if (slot === -1) return
    const { columns } = slots
    const other = columns.extra[slot] as PlainWindow | undefined
    if (columns.born[slot] === born) columns.level[slot] = Math.max(0, (columns.level[slot] ?? 0) - units)
    else if (other?.born === born) other.spent = Math.max(0, other.spent - units)
  }

  function overspend(claim: WindowClaim, units: number, now: number, wall: number): void {
    const slot = slotOf(claim)
    const startsAt = slots.columns.at[slot] ?? 0
    if (slot === -1 || startsAt <= claim.startsAt) spend(claim, slot, units, now, wall)
    else slots.columns.level[slot] = (slots.columns.level[slot] ?? 0) + units
  }
}

function storedKey(key: string): string {
  return key.length <= longestKey ? key : `sha256:${hash('sha256', key, 'base64url')}`
}
