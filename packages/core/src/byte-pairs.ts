/** A token that is not whole UTF-8 characters, as its bytes. */
export type TokenBytes = readonly number[]

/** A piece at least this long is merged with a heap; below, scanning for the lowest rank is faster. */
const longPieceBytes = 64

/**
 * A byte-pair counter over a vocabulary: tokens in the order of their rank, and the pattern that cuts a text into the pieces that tokens
 * never cross. The count equals the reference's (repeatedly join the neighbours whose joint has the lowest rank, the leftmost first), in
 * n log n instead of n² steps for a piece of n bytes, so that a caller cannot stall the process with a text without spaces.
 */
export function bytePairs(tokens: ReadonlyArray<string | TokenBytes>, split: RegExp): (text: string) => number {
  // Keys are bytes as Latin-1 characters; an ASCII token is its own key.
  const ranks = new Map<string, number>()
  let longestBytes = 0
  tokens.forEach((token, rank) => {
    const key = typeof token === 'string' ? latin1(token) : String.fromCharCode(...token)
    if (key.length > longestBytes) longestBytes = key.length
    ranks.set(key, rank)
  })
  // Most look-ups are of two bytes: a table spares them the string and the map.
  const pairs = new Int32Array(0x10000).fill(noRank)
  for (const [key, rank] of ranks) if (key.length === 2) pairs[(key.charCodeAt(0) << 8) | key.charCodeAt(1)] = rank
  const rankOf = (piece: string, from: number, to: number): number => {
    if (to - from === 2) return pairs[(piece.charCodeAt(from) << 8) | piece.charCodeAt(from + 1)] as number
    return to - from > longestBytes ? noRank : (ranks.get(piece.slice(from, to)) ?? noRank)
  }

  const countPiece = (piece: string): number => {
    const key = latin1(piece)
    if (key.length === 1 || ranks.has(key)) return 1
    return key.length < longPieceBytes ? mergeShort(key, rankOf) : mergeLong(key, rankOf)
  }
  const pieces = new RegExp(split.source, 'gu')
  return (text) => {
    let count = 0
    pieces.lastIndex = 0
    for (let match = pieces.exec(text); match !== null; match = pieces.exec(text)) count += countPiece(match[0])
    return count
  }
}

const noRank = 0x7fffffff

type RankOf = (piece: string, from: number, to: number) => number

/** UTF-8 bytes as one character each; ASCII is returned as it is. */
function latin1(text: string): string {
  for (let index = 0; index < text.length; index += 1) {
    if (text.charCodeAt(index) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1')
  }
  return text
}

function mergeShort(piece: string, rankOf: RankOf): number {
  // starts[i] begins part i, and starts[count] is the end; joint[i] is the rank of parts i and i + 1 together.
  const starts: number[] = []
  const joints: number[] = []
  for (let index = 0; index <= piece.length; index += 1) {
    starts.push(index)
    if (index + 2 <= piece.length) joints.push(rankOf(piece, index, index + 2))
  }
  const jointAt = (index: number) => {
    const from = starts[index]
    const to = starts[index + 2]
    return from === undefined || to === undefined ? noRank : rankOf(piece, from, to)
  }
  for (;;) {
    let lowest = noRank
    let at = -1
    for (let index = 0; index < joints.length; index += 1) {
      const rank = joints[index] as number
      if (rank < lowest) {
        lowest = rank
        at = index
      }
    }
    if (at === -1) return starts.length - 1
    starts.splice(at + 1, 1)
    joints.splice(at, 1)
    if (at < joints.length) joints[at] = jointAt(at)
    if (at > 0) joints[at - 1] = jointAt(at - 1)
  }
}

function mergeLong(piece: string, rankOf: RankOf): number {
  const { length } = piece
  // Parts as a linked list by their first byte. A heap entry is rank and first byte in one number; it is stale when its part's joint has changed.
  const next = new Int32Array(length + 1)
  const previous = new Int32Array(length + 1)
  const joints = new Int32Array(length + 1).fill(noRank)
  const heap: number[] = []
  const offer = (start: number) => {
    const middle = next[start] as number
    const rank = middle >= length ? noRank : rankOf(piece, start, next[middle] as number)
    joints[start] = rank
    if (rank !== noRank) push(heap, rank * 2 ** 28 + start)
  }
  for (let index = 0; index <= length; index += 1) {
    next[index] = index + 1
    previous[index] = index - 1
  }
  for (let index = 0; index < length - 1; index += 1) offer(index)
  let count = length
  while (heap.length > 0) {
    const entry = pop(heap)
    const rank = Math.floor(entry / 2 ** 28)
    const start = entry - rank * 2 ** 28
    if (joints[start] !== rank) continue
    const joined = next[start] as number
    const after = next[joined] as number
    joints[joined] = noRank
    next[start] = after
    previous[after] = start
    count -= 1
    offer(start)
    const before = previous[start] as number
    if (before >= 0) offer(before)
  }
  return count
}

function push(heap: number[], entry: number): void {
  let index = heap.length
  heap.push(entry)
  while (index > 0) {
    const parent = (index - 1) >> 1
    const above = heap[parent] as number
    if (above <= entry) break
    heap[index] = above
    index = parent
  }
  heap[index] = entry
}

function pop(heap: number[]): number {
  const top = heap[0] as number
  const last = heap.pop() as number
  const { length } = heap
  if (length === 0) return top
  let index = 0
  for (;;) {
    let child = 2 * index + 1
    if (child >= length) break
    if (child + 1 < length && (heap[child + 1] as number) < (heap[child] as number)) child += 1
    const below = heap[child] as number
    if (below >= last) break
    heap[index] = below
    index = child
  }
  heap[index] = last
  return top
}
