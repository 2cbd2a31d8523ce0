import { describe, expect, it } from 'vitest'
import { markdown, spread, table } from './report.ts'

describe('spread', () => {
  it('takes the middle of an odd number of readings', () => {
    expect(spread([9, 1, 5])).toEqual({ median: 5, least: 1, most: 9 })
  })

  it('takes the mean of the two in the middle of an even number', () => {
    expect(spread([4, 1, 9, 2])).toEqual({ median: 3, least: 1, most: 9 })
  })

  it('does not change what it is given', () => {
    const readings = [3, 1, 2]
    spread(readings)
    expect(readings).toEqual([3, 1, 2])
  })
})

describe('table', () => {
  const row = {
    name: 'a server',
    cpuMicros: { median: 300, least: 290.4, most: 310.6 },
    perCore: { median: 0.7, least: 0.65, most: 0.75 },
    timesAssembled: undefined,
    busy: 0.94,
    p50Ms: 8.26,
    p99Ms: 30,
    rssMegabytes: 120.4,
  }

  it('tells medians with their range, and leaves out what was not measured', () => {
    const cells = table([row])
      .split('\n')[2]
      ?.split('|')
      .map((cell) => cell.trim())
    expect(cells?.slice(1, -1)).toEqual([
      'a server',
      '0.70 (0.65–0.75)',
      '',
      '300 (290–311)',
      '0.94',
      '8.3',
      '30.0',
      '120',
    ])
  })

  it('aligns the columns', () => {
    const lines = markdown([
      ['a', 'b'],
      ['longer', 'c'],
    ]).split('\n')
    expect(new Set(lines.map((line) => line.length)).size).toBe(1)
  })
})
