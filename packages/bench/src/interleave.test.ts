import { describe, expect, it } from 'vitest'
import { interleave } from './interleave.ts'

describe('interleave', () => {
  it('puts each slice of a subject between two of its neighbour, and hands each of those on to the next', async () => {
    const order: string[] = []
    const measured = (name: string) => async () => {
      order.push(name)
      return `${name}${order.length}`
    }
    const seen = await interleave({
      subjects: ['B', 'C'],
      slices: 2,
      neighbour: measured('A'),
      own: (subject) => measured(subject)(),
    })
    expect(order.join('')).toBe('ABACABACA')
    expect(Object.fromEntries(seen)).toEqual({
      B: [
        { before: 'A1', own: 'B2', after: 'A3' },
        { before: 'A5', own: 'B6', after: 'A7' },
      ],
      C: [
        { before: 'A3', own: 'C4', after: 'A5' },
        { before: 'A7', own: 'C8', after: 'A9' },
      ],
    })
  })
})
