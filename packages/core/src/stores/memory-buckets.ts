import { addHole, cutEnd, type Hole, unserved } from './bucket-holes.js'
import { bucketState, fitsUnits } from './claim-state.js'
import type { LimitSlots } from './limit-slots.js'
import type { BucketClaim, ClaimState } from './limit-store.js'

/** Buckets that refill, in the slots of a limit table. */
export interface MemoryBuckets {
  fits(claim: BucketClaim, slot: number, now: number, asked: number): boolean
  state(claim: BucketClaim, slot: number, now: number, asked: number, allowed: boolean): ClaimState
  /** Adds units to the end of a bucket's queue; returns its slot. */
  pour(claim: BucketClaim, slot: number, storedKey: string, units: number, now: number): number
  /** Takes units out again that were poured when the queue was `born` and ended at `position`, as far as refill has not served them. */
  refund(claim: BucketClaim, slot: number, units: number, born: number, position: number, now: number): void
}

/**
 * @param kind the number of buckets among the kinds of slots
 * @param stamp draws the next number
 */
export function memoryBuckets(slots: LimitSlots, kind: number, stamp: () => number): MemoryBuckets {
  const levelOf = (slot: number, { limit, windowMs }: BucketClaim, now: number): number => {
    if (slot === -1) return 0
    const { level, at } = slots.columns
    const refilled = ((now - (at[slot] ?? 0)) * limit) / windowMs
    const left = (level[slot] ?? 0) - refilled
    // What rounding alone has left would keep the bucket from being whole when its time has come.
    return left > limit * 1e-12 ? left : 0
  }

  return {
    fits: (claim, slot, now, asked) =>
      fitsUnits(claim, claim.burst ?? claim.limit, levelOf(slot, claim, now) + asked, claim.cost),
    state: (claim, slot, now, asked, allowed) => bucketState(claim, levelOf(slot, claim, now), asked, allowed),
    pour(claim, known, storedKey, units, now) {
      const before = levelOf(known, claim, now)
      const level = before + units
      const wholeAt = now + (level * claim.windowMs) / claim.limit
      const slot = known === -1 ? slots.add(storedKey, kind, wholeAt, now) : known
      const { columns } = slots
      if (before === 0) {
        columns.born[slot] = stamp()
        columns.back[slot] = 0
        columns.extra[slot] = undefined
      }
      columns.level[slot] = level
      columns.at[slot] = now
      columns.back[slot] = (columns.back[slot] ?? 0) + units
      columns.wholeAt[slot] = wholeAt
      return slot
    },
    refund(claim, slot, units, born, position, now) {
      const { columns } = slots
      if (slot === -1 || columns.born[slot] !== born) return
      const level = levelOf(slot, claim, now)
      const holes = columns.extra[slot] as Hole[] | undefined
      const back = Math.min(units, level, unserved(level, columns.back[slot] ?? 0, holes, position))
      if (back <= 0) return
      columns.level[slot] = level - back
      columns.at[slot] = now
      columns.wholeAt[slot] = now + ((level - back) * claim.windowMs) / claim.limit
      if (position === columns.back[slot]) columns.back[slot] = cutEnd(holes, position - back)
      else columns.extra[slot] = addHole(holes, { position, units: back })
      slots.hasten(slot)
    },
  }
}
