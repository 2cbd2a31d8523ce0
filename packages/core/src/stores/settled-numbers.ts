/** Remembers which reservations are settled, one bit each. */
export interface SettledNumbers {
  /** True the first time a number comes, false ever after. `newest` is the highest number given out. */
  settle(number: number, newest: number): boolean
  has(number: number, newest: number): boolean
}

const bitsPerPage = 32_768
const wordsPerPage = bitsPerPage / 32
const pages = 1024

/** So many reservations back a settle is still accepted. */
export const rememberedReservations = bitsPerPage * (pages - 1)

/**
 * A ring of bitmaps, made page by page as reservations are settled: nothing for those that never are, 4 MiB at most. What is older than
 * the last {@link rememberedReservations} counts as settled: it can neither charge nor give back twice.
 */
export function settledNumbers(): SettledNumbers {
  const ring: (Uint32Array | undefined)[] = new Array(pages).fill(undefined)
  const pageOf = new Float64Array(pages).fill(-1)
  return {
    has(number, newest) {
      if (number <= newest - rememberedReservations) return true
      const page = Math.floor(number / bitsPerPage)
      const place = page % pages
      if (pageOf[place] !== page) return false
      const bit = number % bitsPerPage
      return ((ring[place]?.[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0
    },
    settle(number, newest) {
      if (number <= newest - rememberedReservations) return false
      const page = Math.floor(number / bitsPerPage)
      const place = page % pages
      const bitmap = ring[place] ?? new Uint32Array(wordsPerPage)
      ring[place] = bitmap
      if (pageOf[place] !== page) {
        bitmap.fill(0)
        pageOf[place] = page
      }
      const bit = number % bitsPerPage
      const word = bit >>> 5
      const mask = 1 << (bit & 31)
      const before = bitmap[word] ?? 0
      bitmap[word] = before | mask
      return (before & mask) === 0
    },
  }
}
