import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rememberedReservations, settledNumbers } from './settled-numbers.js'

describe('settledNumbers', () => {
  it('says yes once per number, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200_000 })), (numbers) => {
        const settled = settledNumbers()
        const seen = new Set<number>()
        for (const number of numbers) {
          expect(settled.settle(number, 200_000)).toBe(!seen.has(number))
          seen.add(number)
        }
      }),
    )
  })

  it('never says yes twice, also when the ring has come round', () => {
    const settled = settledNumbers()
    let newest = 5
    expect(settled.settle(5, newest)).toBe(true)
    newest = rememberedReservations + 4
    expect(settled.settle(5, newest)).toBe(false)
    expect(settled.settle(6, newest)).toBe(true)
    newest += 40_000
    expect(settled.settle(newest, newest)).toBe(true)
    expect(settled.settle(7, newest)).toBe(false)
    expect(settled.settle(newest, newest + rememberedReservations)).toBe(false)
  })
})
