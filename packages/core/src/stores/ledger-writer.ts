import { z } from 'zod'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { answerWithin } from './answer-within.js'
import type { Ledger, LedgerRow } from './ledger.js'
import { isLedgerRow, ledgerSpool, memorySpool, type Spool } from './ledger-spool.js'

export interface LedgerWriterOptions {
  readonly ledger: Ledger
  /**
   * Where rows wait on this machine's disk until the ledger has them: a killed process loses none that was written there, and the next one that is given the folder writes them. Several processes may
   * have the same. Without it they wait in memory, and end with the process.
   */
  readonly folder?: string
  /** Bytes that may wait in the folder, or rows in memory. More are lost, and told. Default 1 GiB, or 100,000 rows. */
  readonly maxWaiting?: number
  /** Waits until the disk has the rows, so that a power failure loses none either. Default `false`. */
  readonly sync?: boolean
  /** How often rows are written to the ledger, milliseconds. Default 250. */
  readonly everyMs?: number
  /** How long the ledger may take for a batch, milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  /** Told of batches that could not be written (and are tried again), and of rows that are lost (those that are none, too). Default: a process warning. */
  readonly onError?: (error: unknown) => void
}

/** Writes rows behind the requests that they are of. */
export interface LedgerWriter {
  /** Takes a row; returns at once. */
  append(row: LedgerRow): void
  /** Resolves when all rows taken so far are where they wait: in the folder, or in memory. */
  kept(): Promise<void>
  /** Writes what waits. Rejects with the reason if the ledger does not take it; it is tried again all the same. */
  flush(): Promise<void>
  /** How it stands. `failing` since the ledger refused a batch; `lost`: rows for which there was no room, or that are none. */
  state(): { readonly failing: boolean; readonly lost: number }
  /** Flushes, for `withinMs` at most (default 5,000); what is left stays in the folder. */
  close(withinMs?: number): Promise<void>
}

const schema = z.strictObject({
  ledger: objectOption<Ledger>('a Ledger, for example memoryLedger()', 'append'),
  folder: z.string().min(1).optional(),
  maxWaiting: z.int().min(1).optional(),
  sync: z.boolean().default(false),
  everyMs: z.int().min(1).max(60_000).default(250),
  timeoutMs: z.int().min(1).max(600_000).default(30_000),
  onError: functionOption<(error: unknown) => void>().default(() => warn),
})

const firstPauseMs = 1_000
const lastPauseMs = 30_000

/**
 * Takes rows without delay, keeps them in a folder, and writes them to the ledger in batches; tries again after 1, 2, 4 … 30 seconds while the ledger is away. A row is in the ledger once, however often its batch is written.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example const writer = ledgerWriter({ ledger, folder: '.data/ledger' })
 */
export function ledgerWriter(options: LedgerWriterOptions): LedgerWriter {
  const settings = checkedOptions('ledgerWriter', schema, options)
  const { ledger, folder, maxWaiting, everyMs, timeoutMs, onError } = settings
  let failing = false
  let lost = 0
  const lose = (count: number, why: unknown) => {
    lost += count
    const reason = why instanceof Error ? why.message : String(why)
    onError(new Error(`${count} rows of the ledger are lost: ${reason}`, { cause: why }))
  }
  const spool: Spool =
    folder === undefined
      ? memorySpool({ maxRows: maxWaiting ?? 100_000, lose })
      : ledgerSpool({ folder, maxBytes: maxWaiting ?? 1_073_741_824, sync: settings.sync, lose, onError })
  let writing: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let pauseMs = firstPauseMs
  let closed = false

  const writeAll = async (): Promise<void> => {
    await spool.kept()
    for (let batch = await spool.next(); batch !== undefined; batch = await spool.next()) {
      await answerWithin(ledger.append(batch.rows), timeoutMs)
      await batch.done()
    }
  }
  const write = (): Promise<void> => {
    writing ??= writeAll()
      .then(
        () => {
          failing = false
          pauseMs = firstPauseMs
        },
        (error: unknown) => {
          failing = true
          onError(error)
          throw error
        },
      )
      .finally(() => {
        writing = undefined
      })
    return writing
  }
  const later = (ms: number): void => {
    if (timer !== undefined || closed) return
    timer = setTimeout(() => {
      timer = undefined
      write().catch(() => {
        later(pauseMs)
        pauseMs = Math.min(lastPauseMs, pauseMs * 2)
      })
    }, ms).unref()
  }
  // What another process has left.
  later(everyMs)

  return {
    append(row) {
      if (!isLedgerRow(row)) {
        lose(1, new Error('A row needs id, at, tenant, user and outcome, and whole numbers.'))
        return
      }
      spool.add(row)
      later(everyMs)
    },
    kept: () => spool.kept(),
    async flush() {
      // One that is under way may have begun before the last rows came.
      await writing?.catch(() => {})
      await write()
    },
    state: () => ({ failing, lost }),
    async close(withinMs = 5_000) {
      closed = true
      clearTimeout(timer)
      await answerWithin(
        Promise.resolve(writing?.catch(() => {})).then(() => write()),
        withinMs,
      ).catch(() => {})
      await spool.close()
    },
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}
