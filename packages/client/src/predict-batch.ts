import type { BatchPrediction, PredictBatchResponse } from '@tollgate/core/wire/predict'
import { concernsEveryRow, isAboutRows, rowErrors } from './batch-refusal.js'
import type { Sender } from './call.js'
import { attachAttempts, type ClientError, isTollgateClientError, UsageError } from './errors.js'
import { callJson } from './json-call.js'
import { type CallOptions, callOptionNames, checkOptions, invalid } from './options.js'
import { isObject } from './response-body.js'
import { responseOf } from './response-info.js'
import { abortedBy, openScope } from './scope.js'
import { drainQueue } from './work-queue.js'

export interface PredictBatchOptions extends Omit<CallOptions, 'idempotencyKey'> {
  /** Default: the server's default model for this kind of input. */
  readonly model?: string | undefined
  /** Default `latest`. */
  readonly modelVersion?: string | undefined
  /** Rows per request, 1 to 1000. Default 100. */
  readonly chunkSize?: number | undefined
  /** Requests at a time, 1 to 64. Default 4. */
  readonly concurrency?: number | undefined
  /** Called after each request whose rows are decided. What it throws ends the batch. */
  readonly onProgress?: ((progress: PredictBatchProgress) => void) | undefined
}

export interface PredictBatchProgress {
  /** Rows decided so far, one way or the other. */
  readonly done: number
  readonly failed: number
  readonly total: number
}

/** What became of one row. */
export type PredictBatchItem =
  | {
      readonly index: number
      readonly status: 'ok'
      readonly value: BatchPrediction
      /** Requests that this row was part of. */
      readonly attempts: number
      readonly requestId: string | undefined
    }
  | { readonly index: number; readonly status: 'error'; readonly error: ClientError; readonly attempts: number }

const path = '/v1/predict/batch'
const optionNames = [
  ...callOptionNames.filter((name) => name !== 'idempotencyKey'),
  ...(['model', 'modelVersion', 'chunkSize', 'concurrency', 'onProgress'] satisfies Array<keyof PredictBatchOptions>),
]

interface Row {
  readonly index: number
  readonly json: string
  attempts: number
}

/**
 * Sends the rows in chunks, some at a time. Resolves with one item per row, in the order of the rows, whatever went wrong: a row that the server
 * names as wrong fails alone and its chunk is sent again without it; if a chunk is refused and no row is named, its halves are sent. An error that
 * is not about rows (credentials, scope, budget, model) is every row's that is left, and nothing more is sent. So with an abort.
 * Rejects only for wrong options, and with what `onProgress`, `onRetry` or `onResponse` throws.
 */
export async function predictBatch(
  sender: Sender,
  rows: readonly unknown[],
  options: PredictBatchOptions,
): Promise<PredictBatchItem[]> {
  checkOptions('predictBatch', options, optionNames)
  if (!Array.isArray(rows)) throw invalid('predictBatch takes an array of rows.')
  const { model, modelVersion, chunkSize = 100, concurrency = 4, onProgress, signal, ...callOptions } = options
  // Rows of numbers are features; anything else is in the model's own shape. One name for the whole batch, as it is one model's.
  const field = rows.every((row) => Array.isArray(row) && row.every((value) => typeof value === 'number'))
    ? 'instances'
    : 'inputs'
  const rest = JSON.stringify({ model, model_version: modelVersion }).slice(1)
  const items: PredictBatchItem[] = new Array(rows.length)
  const progress = { done: 0, failed: 0, total: rows.length }
  const scope = openScope(signal, abortedBy)
  let stopped: ClientError | undefined

  const queue: Row[][] = chunked(serialize(), chunkSize)
  try {
    await drainQueue(queue, concurrency, sendChunk, () => stopped === undefined)
  } finally {
    // Nobody waits any more for what is still on its way.
    scope.end()
    scope.close()
  }
  // Only an error that stopped the batch leaves chunks unsent.
  if (stopped !== undefined && queue.length > 0) {
    for (const row of queue.flat()) failRow(row, stopped)
    onProgress?.({ ...progress })
  }
  return items

  function serialize(): Row[] {
    const good: Row[] = []
    for (const [index, value] of rows.entries()) {
      const row: Row = { index, json: '', attempts: 0 }
      try {
        const json = JSON.stringify(value)
        if (json !== undefined) good.push({ ...row, json })
        else failRow(row, new UsageError('request_invalid', `Row ${index} has no form in JSON.`))
      } catch (cause) {
        failRow(row, new UsageError('request_invalid', `Row ${index} cannot be written as JSON.`, { cause }))
      }
    }
    return good
  }

  function failRow({ index, attempts }: Row, error: ClientError): void {
    items[index] = { index, status: 'error', error, attempts }
    progress.done += 1
    progress.failed += 1
  }

  /** Sends one chunk, and returns what is to be sent in its place. */
  async function sendChunk(chunk: readonly Row[]): Promise<Row[][]> {
    const body = `{"${field}":[${chunk.map(({ json }) => json).join(',')}]${rest === '}' ? '' : ','}${rest}`
    let again: Row[][] = []
    try {
      const answer = await callJson<PredictBatchResponse>(
        sender,
        { method: 'POST', path, body },
        { ...callOptions, signal: scope.signal },
        ({ predictions }) =>
          Array.isArray(predictions) && predictions.length === chunk.length && predictions.every(isObject),
      )
      const info = responseOf(answer)
      for (const [position, value] of answer.predictions.entries()) {
        const row = chunk[position]
        if (row === undefined) continue
        const { index } = row
        const attempts = row.attempts + (info?.attempts ?? 1)
        items[index] = { index, status: 'ok', value, attempts, requestId: info?.requestId }
        progress.done += 1
      }
    } catch (thrown) {
      const error = signal?.aborted && isTollgateClientError(thrown) ? withReason(thrown) : thrown
      if (!isTollgateClientError(error)) throw error
      for (const row of chunk) row.attempts += error.attempts.length
      again = afterFailure(chunk, error)
    }
    if (again.length === 0 || again.flat().length < chunk.length) onProgress?.({ ...progress })
    return again
  }

  function afterFailure(chunk: readonly Row[], error: ClientError): Row[][] {
    const named = rowErrors(
      error,
      chunk.map(({ index }) => index),
    )
    if (named.size > 0) {
      for (const [position, own] of named) {
        const row = chunk[position]
        if (row !== undefined) failRow(row, own)
      }
      const others = chunk.filter((_, position) => !named.has(position))
      return others.length === 0 ? [] : [others]
    }
    if (isAboutRows(error) && chunk.length > 1) {
      const middle = Math.ceil(chunk.length / 2)
      return [chunk.slice(0, middle), chunk.slice(middle)]
    }
    if (concernsEveryRow(error)) stopped ??= error
    for (const row of chunk) failRow(row, error)
    return []
  }

  /** The caller's own signal, and not the batch's around it, says why. */
  function withReason(error: ClientError): ClientError {
    const isAbort = error.kind === 'abort' || (error.kind === 'timeout' && error.which === 'signal')
    if (!isAbort || signal === undefined) return error
    const own = abortedBy(signal)
    attachAttempts(own, error.attempts)
    return own
  }
}

function chunked(rows: readonly Row[], size: number): Row[][] {
  const chunks: Row[][] = []
  for (let at = 0; at < rows.length; at += size) chunks.push(rows.slice(at, at + size))
  return chunks
}
