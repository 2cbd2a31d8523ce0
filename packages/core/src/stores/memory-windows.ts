import { fitsUnits, windowState } from './claim-state.js'
import type { LimitSlots } from './limit-slots.js'
import type { ClaimState, WindowClaim } from './limit-store.js'

/** Windows of which each is counted to its end, in the slots of a limit table. */
export interface MemoryWindows {
  fits(claim: WindowClaim, slot: number, now: number, asked: number): boolean
  state(claim: WindowClaim, slot: number, now: number, asked: number, allowed: boolean, wall: number): ClaimState
  /** Charges units to the window that the claim names, beginning it if it is a new one; returns its slot. */
  spend(claim: WindowClaim, slot: number, storedKey: string, units: number, now: number, wall: number): number
  /** Holds units under a stamp in the window that was charged last. */
  hold(claim: WindowClaim, slot: number, stamp: number, now: number): void
  /** Ends a hold; returns whether it was there. */
  letGo(slot: number, stamp: number, now: number): boolean
  /** Lets a hold last anew; false if it has ended. */
  renew(claim: WindowClaim, slot: number, stamp: number, now: number): boolean
  /** Adds units (negative ones give back) to the window that was `born` so; returns whether it is still known. */
  change(slot: number, units: number, born: number): boolean
  /** Charges units used beyond a reservation: to the window that runs. */
  overspend(claim: WindowClaim, slot: number, storedKey: string, units: number, now: number, wall: number): void
}

interface PlainWindow {
  startsAt: number
  endsAt: number
  spent: number
  born: number
}

interface Hold {
  readonly born: number
  readonly units: number
  ends: number
}

/** What only few windows need. */
interface More {
  /** The one before, or one that a clock set back named. */
  other?: PlainWindow | undefined
  /** By stamp. */
  holds?: Map<number, Hold> | undefined
  /** Units held, by the birth of their window. */
  held?: Map<number, number> | undefined
  soonest: number
}

/**
 * The last two windows of a key are kept.
 *
 * @param kind the number of windows among the kinds of slots
 * @param stamp draws the next number
 */
export function memoryWindows(slots: LimitSlots, kind: number, stamp: () => number): MemoryWindows {
  const moreOf = (slot: number) => (slot === -1 ? undefined : (slots.columns.extra[slot] as More | undefined))
  const makeMore = (slot: number): More => {
    const more = moreOf(slot) ?? { soonest: Number.POSITIVE_INFINITY }
    slots.columns.extra[slot] = more
    return more
  }

  const currentOf = (slot: number): PlainWindow => {
    const { at, back, level, born } = slots.columns
    return { startsAt: at[slot] ?? 0, endsAt: back[slot] ?? 0, spent: level[slot] ?? 0, born: born[slot] ?? 0 }
  }
  const setCurrent = (slot: number, window: PlainWindow): void => {
    const { columns } = slots
    columns.at[slot] = window.startsAt
    columns.back[slot] = window.endsAt
    columns.level[slot] = window.spent
    columns.born[slot] = window.born
  }

  const remove = (more: More, id: number, hold: Hold): void => {
    more.holds?.delete(id)
    const left = (more.held?.get(hold.born) ?? 0) - hold.units
    if (left > 0 && more.holds?.size !== 0) more.held?.set(hold.born, left)
    else more.held?.delete(hold.born)
  }
  const sweep = (more: More | undefined, now: number): void => {
    if (more?.holds === undefined || more.soonest > now) return
    more.soonest = Number.POSITIVE_INFINITY
    for (const [id, hold] of more.holds) {
      if (hold.ends <= now) remove(more, id, hold)
      else more.soonest = Math.min(more.soonest, hold.ends)
    }
  }

  /** What is spent and held of the window that a claim names. */
  const usageOf = (slot: number, { startsAt }: WindowClaim, now: number): { spent: number; held: number } => {
    if (slot === -1) return { spent: 0, held: 0 }
    const { at, level, born } = slots.columns
    const more = moreOf(slot)
    sweep(more, now)
    if (more?.other?.startsAt === startsAt) {
      return { spent: more.other.spent, held: more.held?.get(more.other.born) ?? 0 }
    }
    // A window older than both is charged like the current one: never a fresh count for a clock that goes back.
    if (startsAt > (at[slot] ?? 0)) return { spent: 0, held: 0 }
    return { spent: level[slot] ?? 0, held: more?.held?.get(born[slot] ?? 0) ?? 0 }
  }

  const spend: MemoryWindows['spend'] = (claim, known, storedKey, units, now, wall) => {
    // A caller that names a window which is over by our clock goes by another clock: believe it for the length of the window.
    const wholeAt = now + (claim.endsAt > wall ? claim.endsAt - wall : claim.endsAt - claim.startsAt)
    const fresh = known === -1
    const slot = fresh ? slots.add(storedKey, kind, wholeAt, now) : known
    const { columns } = slots
    const other = moreOf(slot)?.other
    const startsAt = columns.at[slot] ?? 0
    if (fresh || (claim.startsAt > startsAt && claim.startsAt !== other?.startsAt)) {
      if (!fresh && (other === undefined || other.startsAt < startsAt)) makeMore(slot).other = currentOf(slot)
      setCurrent(slot, { startsAt: claim.startsAt, endsAt: claim.endsAt, spent: 0, born: stamp() })
    } else if (claim.startsAt === other?.startsAt) {
      makeMore(slot).other = currentOf(slot)
      setCurrent(slot, other)
    }
    columns.level[slot] = (columns.level[slot] ?? 0) + units
    columns.wholeAt[slot] = Math.max(columns.wholeAt[slot] ?? 0, wholeAt)
    return slot
  }

  return {
    fits(claim, slot, now, asked) {
      const { spent, held } = usageOf(slot, claim, now)
      return fitsUnits(claim, claim.limit, spent + held + asked, claim.cost)
    },
    state(claim, slot, now, asked, allowed, wall) {
      const { spent, held } = usageOf(slot, claim, now)
      return windowState(claim, spent, held, asked, allowed, wall)
    },
    spend,
    hold({ cost: units, holdMs = 0 }, slot, id, now) {
      const more = makeMore(slot)
      const born = slots.columns.born[slot] ?? 0
      const ends = now + holdMs
      more.holds ??= new Map()
      more.held ??= new Map()
      more.holds.set(id, { born, units, ends })
      more.held.set(born, (more.held.get(born) ?? 0) + units)
      more.soonest = Math.min(more.soonest, ends)
    },
    letGo(slot, id, now) {
      const more = moreOf(slot)
      sweep(more, now)
      const hold = more?.holds?.get(id)
      if (more === undefined || hold === undefined) return false
      remove(more, id, hold)
      return true
    },
    renew({ holdMs = 0 }, slot, id, now) {
      const more = moreOf(slot)
      sweep(more, now)
      const hold = more?.holds?.get(id)
      if (more === undefined || hold === undefined) return false
      hold.ends = now + holdMs
      return true
    },
    change(slot, units, born) {
      if (slot === -1) return false
      const { columns } = slots
      const other = moreOf(slot)?.other
      if (columns.born[slot] === born) columns.level[slot] = Math.max(0, (columns.level[slot] ?? 0) + units)
      else if (other?.born === born) other.spent = Math.max(0, other.spent + units)
      else return false
      return true
    },
    overspend(claim, slot, storedKey, units, now, wall) {
      const startsAt = slots.columns.at[slot] ?? 0
      if (slot === -1 || startsAt <= claim.startsAt) spend(claim, slot, storedKey, units, now, wall)
      else slots.columns.level[slot] = (slots.columns.level[slot] ?? 0) + units
    },
  }
}
