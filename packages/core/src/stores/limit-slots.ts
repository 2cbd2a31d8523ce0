/** Numbers by key, in columns: a million keys are a few arrays, not a million objects for the garbage collector to walk. */
export interface LimitSlots {
  /** Keys held now. */
  readonly size: number
  /** The columns, by slot. What the last four mean is up to the kind. */
  columns: SlotColumns
  /** The slot of a key, or -1. */
  find(key: string): number
  /** A slot for a key that has none, its numbers 0. If all are taken, one is forgotten: see {@link limitSlots}. */
  add(key: string, kind: number, wholeAt: number, now: number): number
  /** To be called when the `wholeAt` of a slot has come nearer; that it moves away need not be told. */
  hasten(slot: number): void
  /** Frees at most `steps` slots that are whole again. */
  sweep(now: number, steps: number): void
  clear(): void
}

export interface SlotColumns {
  readonly kind: Uint8Array
  /** When the slot may be forgotten without loss, on the clock of the caller of {@link LimitSlots.add}. */
  readonly wholeAt: Float64Array
  readonly level: Float64Array
  readonly at: Float64Array
  readonly back: Float64Array
  readonly born: Float64Array
  /** What few slots need: holes, an earlier window, holders of leases. */
  readonly extra: unknown[]
}

export interface LimitSlotsOptions {
  readonly maxKeys: number
  /** When the slot is whole, if that may be later than its column says. */
  wholeAt(slot: number, now: number): number
  /** A key was forgotten before it was whole. */
  onForget(): void
}

/** Slots looked at, at most, to find the one to forget: a bound for the longest pause. */
const mostProbes = 256

/**
 * A table of at most `maxKeys` keys. A slot that is whole (a full bucket, a window that is over, no lease held) says nothing that an
 * absent one would not, so it is freed when its time comes, without a timer: a heap by that time is looked at while other keys come and go.
 * When the table is full of keys that are not whole, the one that would be whole soonest is forgotten, as it loses least: a flood of
 * new keys, each barely used, pushes out its own and not the caller that is throttled.
 *
 * The heap is lazy: taking only moves `wholeAt` away, which the heap learns when the slot comes to the top.
 */
export function limitSlots({ maxKeys, wholeAt, onForget }: LimitSlotsOptions): LimitSlots {
  const slots = new Map<string, number>()
  let capacity = 0
  let columns = columnsOf(0)
  let keys: string[] = []
  let heap = new Int32Array(0)
  let queuedAt = new Float64Array(0)
  let placeOf = new Int32Array(0)
  let heaped = 0
  let free: number[] = []
  let used = 0

  const table: LimitSlots = {
    get size() {
      return slots.size
    },
    columns,
    find: (key) => slots.get(key) ?? -1,
    add(key, kind, whole, now) {
      table.sweep(now, 4)
      if (slots.size >= maxKeys) forgetOne(now)
      const slot = free.pop() ?? nextSlot()
      const owned = ownCopy(key)
      slots.set(owned, slot)
      keys[slot] = owned
      columns.kind[slot] = kind
      columns.wholeAt[slot] = whole
      columns.level[slot] = columns.at[slot] = columns.back[slot] = columns.born[slot] = 0
      columns.extra[slot] = undefined
      queuedAt[slot] = whole
      heap[heaped] = slot
      siftUp(heaped)
      heaped += 1
      return slot
    },
    hasten(slot) {
      if (at(columns.wholeAt, slot) >= at(queuedAt, slot)) return
      queuedAt[slot] = at(columns.wholeAt, slot)
      siftUp(at(placeOf, slot))
    },
    sweep(now, steps) {
      for (let step = 0; step < steps && heaped > 0; step += 1) {
        const top = at(heap, 0)
        if (at(queuedAt, top) > now) return
        const whole = wholeAt(top, now)
        if (whole <= now) removeTop()
        else requeueTop(whole)
      }
    },
    clear() {
      slots.clear()
      capacity = heaped = used = 0
      keys = []
      free = []
      heap = new Int32Array(0)
      queuedAt = new Float64Array(0)
      placeOf = new Int32Array(0)
      table.columns = columns = columnsOf(0)
    },
  }
  return table

  function nextSlot(): number {
    if (used === capacity) grow(Math.min(maxKeys, Math.max(1024, capacity * 2)))
    used += 1
    return used - 1
  }

  function grow(size: number): void {
    capacity = size
    const grown = columnsOf(size)
    grown.kind.set(columns.kind)
    for (const name of ['wholeAt', 'level', 'at', 'back', 'born'] as const) grown[name].set(columns[name])
    for (const value of columns.extra) grown.extra.push(value)
    table.columns = columns = grown
    const grownHeap = new Int32Array(size)
    grownHeap.set(heap)
    heap = grownHeap
    const grownPlaces = new Int32Array(size)
    grownPlaces.set(placeOf)
    placeOf = grownPlaces
    const grownQueue = new Float64Array(size)
    grownQueue.set(queuedAt)
    queuedAt = grownQueue
  }

  function forgetOne(now: number): void {
    for (let probe = 0; probe < mostProbes; probe += 1) {
      const top = at(heap, 0)
      const whole = wholeAt(top, now)
      if (whole <= at(queuedAt, top)) break
      requeueTop(whole)
    }
    if (wholeAt(at(heap, 0), now) > now) onForget()
    removeTop()
  }

  function removeTop(): void {
    const slot = at(heap, 0)
    slots.delete(keys[slot] ?? '')
    keys[slot] = ''
    columns.extra[slot] = undefined
    free.push(slot)
    heaped -= 1
    heap[0] = at(heap, heaped)
    siftDown(0)
  }

  function requeueTop(whole: number): void {
    queuedAt[at(heap, 0)] = whole
    siftDown(0)
  }

  function siftUp(from: number): void {
    let index = from
    const slot = at(heap, index)
    const time = at(queuedAt, slot)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = at(heap, parent)
      if (at(queuedAt, above) <= time) break
      put(index, above)
      index = parent
    }
    put(index, slot)
  }

  function siftDown(from: number): void {
    let index = from
    const slot = at(heap, index)
    const time = at(queuedAt, slot)
    for (;;) {
      let child = 2 * index + 1
      if (child >= heaped) break
      if (child + 1 < heaped && at(queuedAt, at(heap, child + 1)) < at(queuedAt, at(heap, child))) child += 1
      const below = at(heap, child)
      if (at(queuedAt, below) >= time) break
      put(index, below)
      index = child
    }
    put(index, slot)
  }

  function put(index: number, slot: number): void {
    heap[index] = slot
    placeOf[slot] = index
  }
}

function columnsOf(size: number): SlotColumns {
  return {
    kind: new Uint8Array(size),
    wholeAt: new Float64Array(size),
    level: new Float64Array(size),
    at: new Float64Array(size),
    back: new Float64Array(size),
    born: new Float64Array(size),
    extra: [],
  }
}

// Indices come from the table itself; the fallback only satisfies the compiler.
function at(numbers: Int32Array | Float64Array, index: number): number {
  return numbers[index] ?? 0
}

const beyondLatin1 = /[\u0100-\uffff]/

/** A key cut out of a header would keep the whole header in memory; one joined of parts keeps the parts. */
function ownCopy(key: string): string {
  const encoding = beyondLatin1.test(key) ? 'utf16le' : 'latin1'
  return Buffer.from(key, encoding).toString(encoding)
}
