import { hash } from 'node:crypto'

/** How a route's target has done lately. */
export interface TargetState {
  /** Calls under way. */
  busy: number
  /** Milliseconds to the first output: a moving average that jumps up at once and comes down slowly. `undefined`: nothing is known. */
  latencyMs: number | undefined
  /** When that was learnt. */
  learntAt: number
}

/** A target in the order of a route. */
export interface Ordered {
  readonly weight: number
  readonly state: TargetState
}

/** How long it takes until about two thirds of an average is new. */
const decayMs = 30_000

/** Learns a latency. A slow one counts at once, since who is slow now is to be left alone now (peak EWMA). */
export function learnLatency(state: TargetState, sampleMs: number, now: number): void {
  const known = state.latencyMs
  if (known === undefined || sampleMs > known) state.latencyMs = sampleMs
  else {
    const old = Math.exp(-Math.max(0, now - state.learntAt) / decayMs)
    // Samples that come close together count a little each.
    const kept = Math.min(0.9, old)
    state.latencyMs = known * kept + sampleMs * (1 - kept)
  }
  state.learntAt = now
}

/** In random order, the heavier sooner; those of weight 0 last, in their own order. */
export function byWeight<Target extends Ordered>(targets: readonly Target[], random: () => number): Target[] {
  // The keys of Efraimidis and Spirakis: drawing without putting back.
  return byKey(targets, () => Math.log(Math.max(random(), Number.MIN_VALUE)))
}

/** The same order for the same text, and as few changes as can be when targets come and go (weighted rendezvous hashing). */
export function byAffinity<Target extends Ordered & { readonly name: string }>(
  targets: readonly Target[],
  text: string,
): Target[] {
  return byKey(targets, ({ name }) => {
    const digest = hash('sha256', `${name}\n${text}`, 'buffer')
    return Math.log((digest.readUIntBE(0, 6) + 1) / 2 ** 48)
  })
}

function byKey<Target extends Ordered>(targets: readonly Target[], log: (target: Target) => number): Target[] {
  const keyed = targets
    .filter(({ weight }) => weight > 0)
    .map((target) => ({ target, key: log(target) / target.weight }))
    .sort((one, other) => other.key - one.key)
  return [...keyed.map(({ target }) => target), ...targets.filter(({ weight }) => weight === 0)]
}

/** What a target would cost in waiting: its latency, for each call under way and this one. Unknown ones are tried first, and those that were not asked for long again. */
function load({ state, weight }: Ordered, now: number): number {
  const { latencyMs = 0, learntAt, busy } = state
  const aged = latencyMs * Math.exp(-Math.max(0, now - learntAt) / decayMs)
  return ((aged + 1) * (busy + 1)) / Math.max(weight, Number.MIN_VALUE)
}

/** The better of two that are drawn by weight (power of two choices), then the others, the better sooner. */
export function byLatency<Target extends Ordered>(
  targets: readonly Target[],
  random: () => number,
  now: number,
): Target[] {
  const drawn = byWeight(targets, random)
  const heavy = drawn.filter(({ weight }) => weight > 0)
  const [one, other] = heavy
  if (one === undefined || other === undefined) return drawn
  const first = load(other, now) < load(one, now) ? other : one
  const rest = heavy.filter((each) => each !== first).sort((left, right) => load(left, now) - load(right, now))
  return [first, ...rest, ...drawn.filter(({ weight }) => weight === 0)]
}

/** The fewest calls under way for its weight first; among equals by lot. */
export function byBusyness<Target extends Ordered>(targets: readonly Target[], random: () => number): Target[] {
  const drawn = byWeight(targets, random)
  const heavy = drawn.filter(({ weight }) => weight > 0)
  const each = ({ state, weight }: Ordered) => state.busy / weight
  return [...heavy.sort((one, other) => each(one) - each(other)), ...drawn.filter(({ weight }) => weight === 0)]
}

/** The cheapest first; those whose price nobody knows last. */
export function byCost<Target extends Ordered>(
  targets: readonly Target[],
  cost: (target: Target) => number | undefined,
): Target[] {
  const priced = targets.map((target) => ({ target, price: cost(target) ?? Number.POSITIVE_INFINITY }))
  const heavy = priced.filter(({ target }) => target.weight > 0).sort((one, other) => one.price - other.price)
  return [...heavy.map(({ target }) => target), ...targets.filter(({ weight }) => weight === 0)]
}
