import type { Usage } from '../usage.js'
import type { Awaitable } from './awaitable.js'

/** How a request ended. */
export type LedgerOutcome = 'ok' | 'error' | 'aborted'

/** One admitted request, as it was. Never changed after it was written: what prices do later is nothing to it. */
export interface LedgerRow {
  /** Drawn by the gate, one for each request; a row whose id is there already is the same row. */
  readonly id: string
  /** When the request arrived, milliseconds since the epoch. */
  readonly at: number
  readonly durationMs: number
  /** The caller's or the gate's own id for the request, for logs. */
  readonly requestId: string
  readonly tenant: string
  readonly team?: string
  /** The subject that called. */
  readonly user: string
  readonly keyId?: string
  /** The template of the route. */
  readonly route?: string
  /** The model that was asked for, as the caller named it. */
  readonly modelAsked?: string
  /** The one that was dispatched. Without it, none was. */
  readonly provider?: string
  readonly model?: string
  /** Without it nobody told, and nothing was used as far as is known. */
  readonly usage?: Usage
  /** Whole nano-USD; without it the price is not known. */
  readonly costNanoUsd?: number
  readonly outcome: LedgerOutcome
  /** What was answered; 499 if the caller left before. */
  readonly status: number
  /** A code of the error catalogue. */
  readonly error?: string
  /** How the cache took part. */
  readonly cache?: 'hit' | 'miss' | 'bypass' | 'collapsed'
  readonly tags?: Readonly<Record<string, string>>
}

/** By what sums are told apart. */
export type LedgerDimension = 'tenant' | 'team' | 'user' | 'key' | 'model' | 'provider' | 'outcome' | `tag:${string}`

export interface LedgerQuery {
  /** Without it, of all tenants. */
  readonly tenant?: string | undefined
  /** Milliseconds since the epoch: from, and before. */
  readonly from: number
  readonly to: number
  /** Only rows that have these. */
  readonly where?: Partial<Record<LedgerDimension, string>> | undefined
  readonly by: readonly LedgerDimension[]
  /** Also by hour, day or month of a time zone. Without it, one sum for the whole time. */
  readonly per?: 'hour' | 'day' | 'month' | undefined
  /** IANA name. Default `UTC`. */
  readonly timeZone?: string | undefined
  /** 1 to 10,000. */
  readonly limit: number
  /** The `next` of the page before. */
  readonly after?: string | undefined
}

/** Sums of the rows that have the same of everything that was asked for. */
export interface LedgerSum {
  /** By dimension; `null` for rows that have none. */
  readonly of: Readonly<Record<string, string | null>>
  /** When the hour, day or month begins, milliseconds since the epoch. */
  readonly startsAt?: number
  readonly requests: number
  /** Of them, those without a known price. */
  readonly unpriced: number
  readonly costNanoUsd: number
  readonly inputTokens: number
  readonly cacheReadTokens: number
  readonly cacheWriteTokens: number
  readonly outputTokens: number
  readonly reasoningTokens: number
  /** All input and output of other kinds: audio, images. */
  readonly otherTokens: number
  readonly rows: number
}

export interface LedgerPage<Item> {
  readonly items: readonly Item[]
  /** There when there is more. Opaque, visible ASCII. */
  readonly next?: string
}

/**
 * What was used, and what it cost: one row for each admitted request.
 *
 * Conformance: `@tollgate/core/testing/ledger`.
 */
export interface Ledger {
  /** Writes all of the rows or none. One that is there already is left as it is, so that a batch may be written again. */
  append(rows: readonly LedgerRow[]): Promise<void>
  /** Sums, in the order of time, then of what they are told apart by. */
  sums(query: LedgerQuery): Promise<LedgerPage<LedgerSum>>
  /** The rows themselves, newest first. */
  rows(query: Omit<LedgerQuery, 'by' | 'per' | 'timeZone'>): Promise<LedgerPage<LedgerRow>>
  close(): Awaitable<void>
}
