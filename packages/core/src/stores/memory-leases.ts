import { leaseState } from './claim-state.js'
import type { LimitSlots } from './limit-slots.js'
import type { ClaimState, LeaseClaim } from './limit-store.js'

/** Places that are held, in the slots of a limit table. */
export interface MemoryLeases {
  fits(claim: LeaseClaim, slot: number, now: number, asked: number): boolean
  state(claim: LeaseClaim, slot: number, now: number, asked: number, allowed: boolean): ClaimState
  /** Takes a place under a stamp; returns its slot. */
  take(claim: LeaseClaim, slot: number, storedKey: string, stamp: number, now: number): number
  free(slot: number, stamp: number, now: number): void
  /** Nothing is held, so that nothing would be lost with the key. */
  isEmpty(slot: number): boolean
  /** Lets it last anew; false if it has ended. */
  renew(claim: LeaseClaim, slot: number, stamp: number, now: number): boolean
}

interface Leases {
  /** When each ends, by its stamp. */
  readonly ends: Map<number, number>
  soonest: number
}

/** Most callers come again soon: a key without leases is kept for so long, so that it need not be made anew each time. For so long a full table may forget another one before it. */
const lingerMs = 1_000

/** @param kind the number of leases among the kinds of slots */
export function memoryLeases(slots: LimitSlots, kind: number): MemoryLeases {
  const of = (slot: number) => (slot === -1 ? undefined : (slots.columns.extra[slot] as Leases | undefined))

  const heldOf = (slot: number, now: number): number => {
    const leases = of(slot)
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

  const hold = (slot: number, leases: Leases, stamp: number, ends: number): void => {
    leases.ends.set(stamp, ends)
    leases.soonest = Math.min(leases.soonest, ends)
    const { wholeAt } = slots.columns
    wholeAt[slot] = Math.max(wholeAt[slot] ?? 0, ends)
  }

  return {
    fits: ({ limit }, slot, now, asked) => heldOf(slot, now) + asked + 1 <= limit,
    state(claim, slot, now, asked, allowed) {
      const held = heldOf(slot, now)
      if (held === 0) return leaseState(claim, 0, asked, allowed, 0, 0)
      const soonest = of(slot)?.soonest ?? now
      return leaseState(claim, held, asked, allowed, soonest - now, (slots.columns.wholeAt[slot] ?? 0) - now)
    },
    take({ leaseMs }, known, storedKey, stamp, now) {
      const ends = now + leaseMs
      const slot = known === -1 ? slots.add(storedKey, kind, ends, now) : known
      const { extra } = slots.columns
      const leases = of(slot) ?? { ends: new Map(), soonest: ends }
      extra[slot] = leases
      hold(slot, leases, stamp, ends)
      return slot
    },
    free(slot, stamp, now) {
      const leases = of(slot)
      leases?.ends.delete(stamp)
      if (leases?.ends.size !== 0) return
      slots.columns.wholeAt[slot] = now + lingerMs
      slots.hasten(slot)
    },
    isEmpty: (slot) => of(slot)?.ends.size === 0,
    renew({ leaseMs }, slot, stamp, now) {
      heldOf(slot, now)
      const leases = of(slot)
      if (leases?.ends.has(stamp) !== true) return false
      hold(slot, leases, stamp, now + leaseMs)
      return true
    },
  }
}
