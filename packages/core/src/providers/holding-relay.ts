import type { GenerateWatch } from './generate-model.js'

/** So much of a stream is held back at most while nothing of it is an answer. */
const maxHeldBytes = 262_144

/** Hands events on as they are; those before the first that is an answer wait for it, so that an error can still be told by a status. */
export function holdingRelay(watch: GenerateWatch): {
  push(whole: Buffer): Buffer | undefined
  rest(): Buffer | undefined
} {
  let held: Buffer[] | undefined = []
  let heldBytes = 0
  return {
    push(whole) {
      const bytes = watch.relay(whole)
      if (held === undefined) return bytes
      if (bytes !== undefined) held.push(bytes)
      heldBytes += bytes?.length ?? 0
      if (heldBytes === 0 || (heldBytes <= maxHeldBytes && !watch.hasOutput())) return undefined
      const all = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held)
      held = undefined
      return all
    },
    rest: () => (held === undefined || held.length === 0 ? undefined : Buffer.concat(held)),
  }
}
