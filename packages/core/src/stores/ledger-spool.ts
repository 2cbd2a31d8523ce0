import { hash, randomUUID } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { isUsage } from '../usage.js'
import type { LedgerRow } from './ledger.js'

/** Rows that wait. */
export interface Spool {
  add(row: LedgerRow): void
  /** Resolves when all that was added is kept. */
  kept(): Promise<void>
  /** The next rows to write, the oldest first; `undefined` if there are none. The same again until they are done. */
  next(): Promise<{ readonly rows: readonly LedgerRow[]; done(): Promise<void> } | undefined>
  close(): Promise<void>
}

const mostRows = 500

/** Rows in memory. */
export function memorySpool({
  maxRows,
  lose,
}: {
  maxRows: number
  lose: (count: number, why: unknown) => void
}): Spool {
  const waiting: LedgerRow[] = []
  return {
    add(row) {
      if (waiting.length >= maxRows) lose(1, new Error(`${maxRows} rows wait already.`))
      else waiting.push(row)
    },
    async kept() {},
    async next() {
      if (waiting.length === 0) return undefined
      const rows = waiting.slice(0, mostRows)
      return {
        rows,
        async done() {
          waiting.splice(0, rows.length)
        },
      }
    },
    async close() {},
  }
}

interface LedgerSpoolOptions {
  readonly folder: string
  readonly maxBytes: number
  readonly sync: boolean
  readonly lose: (count: number, why: unknown) => void
  readonly onError: (error: unknown) => void
}

interface Segment {
  readonly file: FileHandle
  readonly path: string
  readonly openedAt: number
  rows: number
  bytes: number
}

/** Machines, and on one of them containers: each has process numbers of its own, and may be called as another is. */
const host = hash('sha256', `${hostname()} ${processNamespace()}`).slice(0, 8)
const openEnd = '.open'
const closedEnd = '.jsonl'
/** Nothing is added to a file that is older. */
const longestOpenMs = 10_000
/** An open file that is older than this belongs to a process that has died. */
const orphanedMs = 60_000

/**
 * Rows as lines of JSON in files of a folder. A file is added to for ten seconds at most, then it is closed (renamed), and only closed files are read and deleted, by whichever process; an open file whose process has died, or that nobody has touched for a
 * minute, is closed by another. So no lock is needed: a batch that two processes write is in the ledger once.
 */
export function ledgerSpool({ folder, maxBytes, sync, lose, onError }: LedgerSpoolOptions): Spool {
  let pending: LedgerRow[] = []
  let keeping: Promise<void> = Promise.resolve()
  let scheduled = false
  let segment: Segment | undefined
  let bytes: number | undefined

  const begin = async (): Promise<Segment> => {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    bytes ??= await weigh(folder)
    // In the order in which they are opened; and whose it is, so that it is known when that process has died.
    const name = `${String(Date.now()).padStart(15, '0')}-${host}.${process.pid}-${randomUUID()}${openEnd}`
    const path = join(folder, name)
    return { file: await open(path, 'ax', 0o600), path, openedAt: Date.now(), rows: 0, bytes: 0 }
  }
  const end = async (): Promise<void> => {
    const ended = segment
    segment = undefined
    if (ended === undefined) return
    await ended.file.close()
    await rename(ended.path, closedName(ended.path)).catch((error: NodeJS.ErrnoException) => {
      // Another process has closed it.
      if (error.code !== 'ENOENT') throw error
    })
  }
  const keep = async (): Promise<void> => {
    scheduled = false
    const rows = pending
    pending = []
    if (rows.length === 0) return
    try {
      if (segment !== undefined && (segment.rows >= mostRows || Date.now() - segment.openedAt >= longestOpenMs))
        await end()
      segment ??= await begin()
      const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
      const size = Buffer.byteLength(text)
      if ((bytes ?? 0) + size > maxBytes) throw new Error(`Over ${maxBytes} bytes wait in ${folder}.`)
      await segment.file.appendFile(text)
      if (sync) await segment.file.datasync()
      segment.rows += rows.length
      segment.bytes += size
      bytes = (bytes ?? 0) + size
    } catch (error) {
      lose(rows.length, error)
      // A part of them may have been written: nothing may come behind half a line.
      await segment?.file.truncate(segment.bytes).catch(onError)
      await end().catch(onError)
    }
  }
  const kept = (): Promise<void> => {
    keeping = keeping.then(keep)
    return keeping
  }

  /** The oldest closed file, those of dead processes too. */
  const oldest = async (): Promise<string | undefined> => {
    for (const name of (await filesOf(folder)).filter((each) => each.endsWith(openEnd))) {
      const path = join(folder, name)
      const touched = await stat(path).catch(() => undefined)
      if (path === segment?.path || touched === undefined) continue
      if (Date.now() - touched.mtimeMs < orphanedMs && !hasDied(name)) continue
      await rename(path, closedName(path)).catch(() => {})
    }
    const closed = (await filesOf(folder)).filter((each) => each.endsWith(closedEnd)).sort()
    return closed[0] === undefined ? undefined : join(folder, closed[0])
  }

  return {
    add(row) {
      pending.push(row)
      if (scheduled) return
      scheduled = true
      // All rows of one turn of the event loop are one write.
      setImmediate(() => void kept())
    },
    kept,
    async next() {
      keeping = keeping.then(end).catch(onError)
      await keeping
      for (;;) {
        const path = await oldest()
        if (path === undefined) return undefined
        const text = await readFile(path, 'utf8').catch(() => undefined)
        // Another process was faster.
        if (text === undefined) continue
        const { rows, wrong } = rowsOf(text)
        return {
          rows,
          async done() {
            await unlink(path).catch((error: NodeJS.ErrnoException) => {
              if (error.code !== 'ENOENT') throw error
            })
            bytes = Math.max(0, (bytes ?? 0) - Buffer.byteLength(text))
            for (const line of wrong) lose(1, new Error(`no row is ${line.slice(0, 100)}`))
          },
        }
      }
    },
    async close() {
      await kept()
      keeping = keeping.then(end).catch(onError)
      await keeping
    },
  }
}

/** Is it the file of a process of this machine that is no more? */
function hasDied(name: string): boolean {
  const pid = Number(new RegExp(`-${host}\\.(\\d+)-`).exec(name)?.[1] ?? process.pid)
  // One of our own number may be another's, in another container of the same name.
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** Of Linux; elsewhere there is one for all. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

function closedName(path: string): string {
  return `${path.slice(0, -openEnd.length)}${closedEnd}`
}

/** A last line without its end was being written when the process was killed: it was never kept. */
function rowsOf(text: string): { readonly rows: readonly LedgerRow[]; readonly wrong: readonly string[] } {
  const lines = text.split('\n')
  lines.pop()
  const rows: LedgerRow[] = []
  const wrong: string[] = []
  for (const line of lines) {
    const row = parsedRow(line)
    if (row === undefined) wrong.push(line)
    else rows.push(row)
  }
  return { rows, wrong }
}

function parsedRow(line: string): LedgerRow | undefined {
  try {
    const row: unknown = JSON.parse(line)
    return isLedgerRow(row) ? row : undefined
  } catch {
    return undefined
  }
}

/** Has it what a ledger cannot do without? One row that it refuses would keep out all that are written with it. */
export function isLedgerRow(value: unknown): value is LedgerRow {
  if (typeof value !== 'object' || value === null) return false
  const { id, tenant, user, outcome, at, costNanoUsd, usage } = value as Partial<LedgerRow>
  return (
    [id, tenant, user, outcome].every((text) => typeof text === 'string') &&
    Number.isFinite(at) &&
    (costNanoUsd === undefined || Number.isSafeInteger(costNanoUsd)) &&
    (usage === undefined || isUsage(usage))
  )
}

/** None before the first row is kept. */
async function filesOf(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
}

async function weigh(folder: string): Promise<number> {
  let sum = 0
  for (const name of await filesOf(folder)) sum += (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0
  return sum
}
