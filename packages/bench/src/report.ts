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
  readonly busy: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly rssMegabytes: number
}

export function spread(readings: readonly number[]): Spread {
  const sorted = [...readings].sort((left, right) => left - right)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  const lower = sorted[sorted.length % 2 === 0 ? middle - 1 : middle] ?? Number.NaN
  return { median: (lower + upper) / 2, least: sorted[0] ?? Number.NaN, most: sorted.at(-1) ?? Number.NaN }
}

/** The rows as a Markdown table. */
export function table(rows: readonly Row[]): string {
  const head = ['Subject', 'Per core', '× assembled', 'CPU µs/request', 'Busy', 'p50 ms', 'p99 ms', 'RSS MB']
  const lines = rows.map((row) => [
    row.name,
    ratio(row.perCore),
    row.timesAssembled === undefined ? '' : ratio(row.timesAssembled),
    `${row.cpuMicros.median.toFixed(0)} (${row.cpuMicros.least.toFixed(0)}–${row.cpuMicros.most.toFixed(0)})`,
    row.busy.toFixed(2),
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    row.rssMegabytes.toFixed(0),
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

function ratio({ median, least, most }: Spread): string {
  return `${median.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`
}
