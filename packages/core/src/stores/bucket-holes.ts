/** Units that were given back out of the middle of a bucket's queue. */
export interface Hole {
  /** Where in the queue the reservation ended that they belonged to. */
  readonly position: number
  readonly units: number
}

/** So many are remembered for one bucket. */
const mostHoles = 64

/**
 * A bucket is a queue of reserved units that refill serves from the front; `back` is the position of its end, all units ever reserved since
 * it was last empty. A refund takes units out of the queue, but only out of what refill has not served yet: else a reservation that has
 * long decayed would give back units that others took since. Where a refund left a hole, refill goes on behind it at once; so the
 * holes are remembered until the front has passed them.
 *
 * @returns how many units of the queue up to `position` refill has not reached. A reservation that ends there can give back no more.
 */
export function unserved(level: number, back: number, holes: Hole[] | undefined, position: number): number {
  if (holes === undefined) return Math.max(0, position - (back - level))
  let front = back - level
  for (const hole of holes) front -= hole.units
  let passed = 0
  for (const hole of holes) {
    if (hole.position - hole.units > front) break
    front += hole.units
    passed += 1
  }
  holes.splice(0, passed)
  return Math.max(0, position - front)
}

/**
 * Remembers a refund. Beyond 64 the one nearest the front is forgotten, which takes the front for further than it is: reservations before
 * that hole may get back less than they could, never more.
 */
export function addHole(holes: Hole[] | undefined, hole: Hole): Hole[] {
  if (holes === undefined) return [hole]
  let index = holes.length
  while (index > 0 && (holes[index - 1] as Hole).position > hole.position) index -= 1
  holes.splice(index, 0, hole)
  if (holes.length > mostHoles) holes.shift()
  return holes
}

/** A refund at the very end of the queue leaves no hole: the queue ends there. @returns where, holes before it that lie bare now being gone too */
export function cutEnd(holes: Hole[] | undefined, end: number): number {
  let back = end
  for (let last = holes?.at(-1); last !== undefined && last.position >= back; last = holes?.at(-1)) {
    back -= last.units
    holes?.pop()
  }
  return back
}
