import type { PGlite, Transaction } from '@electric-sql/pglite'
import { answerWithin } from '@tollgate/core/stores/answer-within'
import {
  type DatabaseConnection,
  type Dialect,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from 'kysely'

/** A transaction that PGlite has let in, and keeps all others out for. */
interface OpenTransaction {
  readonly queries: Transaction
  commit(): void
  rollback(): void
}

interface Connection extends DatabaseConnection {
  begin(): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/**
 * PGlite as kysely sees it: as many connections as are asked for, of which PGlite lets in one statement, or one transaction, at a time. No wait is
 * longer than `timeoutMs`, whatever else uses the same PGlite.
 */
export function pgliteDialect(pglite: PGlite, timeoutMs: number): Dialect {
  return {
    createAdapter: () => new PostgresAdapter(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createIntrospector: (database) => new PostgresIntrospector(database),
    createDriver: () => ({
      init: async () => {},
      acquireConnection: async () => connectionTo(pglite, timeoutMs),
      beginTransaction: (connection) => (connection as Connection).begin(),
      commitTransaction: (connection) => (connection as Connection).commit(),
      rollbackTransaction: (connection) => (connection as Connection).rollback(),
      releaseConnection: async () => {},
      destroy: async () => {},
    }),
  }
}

function connectionTo(pglite: PGlite, timeoutMs: number): Connection {
  let open: OpenTransaction | undefined
  let over: Promise<void> = Promise.resolve()
  return {
    async executeQuery<Row>({ sql, parameters }: { sql: string; parameters: readonly unknown[] }) {
      const answer = (open?.queries ?? pglite).query<Row>(sql, [...parameters])
      const { rows, affectedRows = 0 } = await answerWithin(answer, timeoutMs)
      return { rows, numAffectedRows: BigInt(affectedRows) } satisfies QueryResult<Row>
    },
    streamQuery() {
      throw new Error('Nothing is streamed from PGlite.')
    },
    async begin() {
      const begun = new Promise<OpenTransaction>((resolve, reject) => {
        over = pglite.transaction(
          (queries) =>
            new Promise<void>((commit, undo) => {
              resolve({ queries, commit, rollback: () => undo(new Error('Rolled back.')) })
            }),
        )
        over.catch(reject)
      })
      try {
        open = await answerWithin(begun, timeoutMs)
      } catch (error) {
        // Let in too late: it must keep nobody out.
        begun.then(
          ({ rollback }) => rollback(),
          () => {},
        )
        throw error
      }
    },
    async commit() {
      open?.commit()
      open = undefined
      await answerWithin(over, timeoutMs)
    },
    async rollback() {
      open?.rollback()
      open = undefined
      await answerWithin(
        over.catch(() => {}),
        timeoutMs,
      )
    },
  }
}
