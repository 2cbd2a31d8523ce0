import { describe, expect, it } from 'vitest'
import { ledgerCases } from '../testing/ledger.js'
import { memoryLedger } from './memory-ledger.js'

describe('memoryLedger', () => {
  it.each(ledgerCases)('$name', ({ run }) => run(() => memoryLedger()))

  it('keeps so many rows and drops the oldest', async () => {
    const ledger = memoryLedger({ maxRows: 2 })
    const rows = ['a', 'b', 'c'].map((id, at) => ({
      id,
      at,
      durationMs: 1,
      requestId: id,
      tenant: 't',
      user: 'u',
      outcome: 'ok' as const,
      status: 200,
    }))
    await ledger.append(rows)
    expect((await ledger.rows({ from: 0, to: 9, limit: 9 })).items.map(({ id }) => id)).toEqual(['c', 'b'])
  })
})
