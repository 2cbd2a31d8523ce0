const most = 100
const least = 20

/** A time that 95 of 100 calls keep to. */
export interface LearnedDelay {
  ms(): number
  learn(ms: number): void
}

/** By the last 100 calls; never less than `leastMs`, and that while fewer than 20 are known. */
export function learnedDelay(leastMs: number): LearnedDelay {
  const seen: number[] = []
  let next = 0
  let delayMs = leastMs
  return {
    ms: () => delayMs,
    learn(ms) {
      seen[next] = ms
      next = (next + 1) % most
      if (seen.length < least) return
      const sorted = seen.toSorted((one, other) => one - other)
      delayMs = Math.max(leastMs, sorted[Math.floor(sorted.length * 0.95)] ?? leastMs)
    },
  }
}
