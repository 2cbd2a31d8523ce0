/** Middle, least and most of some readings. */
export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** What one subject came to in one scenario. */
export interface Row {
  readonly name: string
  /** CPU per request, microseconds: only good for comparing within one run of the benchmark. */
  readonly cpuMicros: Spread
  /** How many times the base's requests a core does: base's CPU per request, before and after, over the subject's own. */
  readonly perCore: Spread
  /** The same against the assembled stack of the same round. */
  readonly timesAssembled: Spread | undefined
  /** The same against Portkey. */
  readonly timesPortkey: Spread | undefined
  readonly busy: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly rssMegabytes: number
}

/** What one subject's callers waited in one scenario, at a fixed rate. */
export interface LatencyRow {
  readonly name: string
  /** More than callers of the upstream itself waited in the same round. */
  readonly addedP50Ms: Spread
  readonly addedP99Ms: Spread
  /** The median added, as a multiple of what Portkey added in the same round. */
  readonly timesPortkey: Spread | undefined
  /** More than the base added in the same round. */
  readonly overBaseP50Ms: Spread
  readonly overBaseP99Ms: Spread
}

export function spread(readings: readonly number[]): Spread {
  const sorted = [...readings].sort((left, right) => left - right)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  const lower = sorted[sorted.length % 2 === 0 ? middle - 1 : middle] ?? Number.NaN
  return { median: (lower + upper) / 2, least: sorted[0] ?? Number.NaN, most: sorted.at(-1) ?? Number.NaN }
}

/** The reading that this share of all lies below. */
export function quantile(readings: Iterable<number>, share: number): number {
  const sorted = Float64Array.from(readings).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** The rows as a Markdown table. */
export function table(rows: readonly Row[]): string {
  const hasPortkey = rows.some(({ timesPortkey }) => timesPortkey !== undefined)
  const times = hasPortkey ? ['× assembled', '× Portkey'] : ['× assembled']
  const head = ['Subject', 'Per core', ...times, 'CPU µs/request', 'Busy', 'p50 ms', 'p99 ms', 'RSS MB']
  const lines = rows.map((row) => [
    row.name,
    withRange(row.perCore, 2),
    ...[row.timesAssembled, row.timesPortkey].slice(0, times.length).map((each) => withRange(each, 2)),
    withRange(row.cpuMicros, 0),
    row.busy.toFixed(2),
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    row.rssMegabytes.toFixed(0),
  ])
  return markdown([head, ...lines])
}

/** The same of what callers waited. */
export function latencyTable(rows: readonly LatencyRow[]): string {
  const hasPortkey = rows.some(({ timesPortkey }) => timesPortkey !== undefined)
  const times = hasPortkey ? ['× Portkey'] : []
  const head = ['Subject', 'Added p50 ms', ...times, 'Added p99 ms', 'p50 over base', 'p99 over base']
  const lines = rows.map((row) => [
    row.name,
    withRange(row.addedP50Ms, 2),
    ...times.map(() => withRange(row.timesPortkey, 2)),
    withRange(row.addedP99Ms, 1),
    withRange(row.overBaseP50Ms, 2),
    withRange(row.overBaseP99Ms, 1),
  ])
  return markdown([head, ...lines])
}

/** Cells as a Markdown table with aligned columns; the first line is the head. */
export function markdown(cells: ReadonlyArray<readonly string[]>): string {
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)))
  const line = (values: readonly string[]) =>
    `| ${widths.map((width, column) => (values[column] ?? '').padEnd(width)).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  const [head, ...rest] = cells
  return [line(head ?? []), rule, ...rest.map(line)].join('\n')
}

/** Nothing for what was not measured. */
function withRange(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return ''
  const [median, least, most] = [spread.median, spread.least, spread.most].map((each) => each.toFixed(digits))
  return `${median} (${least}${spread.least < 0 ? ' to ' : '–'}${most})`
}
