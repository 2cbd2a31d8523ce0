import { describe, expect, it } from 'vitest'
import { latencyTable, markdown, quantile, spread, table } from './report.ts'

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

describe('quantile', () => {
  const readings = Array.from({ length: 100 }, (_, index) => 100 - index)

  it('takes the reading that the share lies below, whatever their order', () => {
    expect(quantile(readings, 0.5)).toBe(51)
    expect(quantile(readings, 0.99)).toBe(100)
  })

  it('takes the last of them for the whole, and nothing of nothing', () => {
    expect(quantile(readings, 1)).toBe(100)
    expect(quantile([], 0.5)).toBeNaN()
  })
})

/** The cells of a line of a table. */
function cellsOf(markdownTable: string, line: number): readonly string[] | undefined {
  return markdownTable
    .split('\n')
    [line]?.split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

describe('table', () => {
  const row = {
    name: 'a server',
    cpuMicros: { median: 300, least: 290.4, most: 310.6 },
    perCore: { median: 0.7, least: 0.65, most: 0.75 },
    timesAssembled: undefined,
    timesPortkey: undefined,
    busy: 0.94,
    p50Ms: 8.26,
    p99Ms: 30,
    rssMegabytes: 120.4,
  }

  it('tells medians with their range, and leaves out what was not measured', () => {
    expect(cellsOf(table([row]), 2)).toEqual([
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

  it('has a column for Portkey where it was measured, empty for rows of rounds without it', () => {
    const beside = table([row, { ...row, timesPortkey: { median: 3.5, least: 3, most: 4 } }])
    expect(cellsOf(beside, 0)?.slice(2, 4)).toEqual(['× assembled', '× Portkey'])
    expect(cellsOf(beside, 2)?.slice(2, 5)).toEqual(['', '', '300 (290–311)'])
    expect(cellsOf(beside, 3)?.slice(2, 5)).toEqual(['', '3.50 (3.00–4.00)', '300 (290–311)'])
  })

  it('aligns the columns', () => {
    const lines = markdown([
      ['a', 'b'],
      ['longer', 'c'],
    ]).split('\n')
    expect(new Set(lines.map((line) => line.length)).size).toBe(1)
  })
})

describe('latencyTable', () => {
  const at = (median: number) => ({ median, least: median - 0.5, most: median + 0.5 })
  const row = {
    name: 'a server',
    addedP50Ms: at(1),
    addedP99Ms: at(5),
    timesPortkey: undefined,
    overBaseP50Ms: at(0),
    overBaseP99Ms: at(2),
  }

  it('tells what was added to the upstream and what to the base', () => {
    const cells = ['a server', '1.00 (0.50–1.50)', '5.0 (4.5–5.5)', '0.00 (-0.50 to 0.50)', '2.0 (1.5–2.5)']
    expect(cellsOf(latencyTable([row]), 2)).toEqual(cells)
  })

  it('has a column for Portkey where it was measured', () => {
    const beside = latencyTable([{ ...row, timesPortkey: at(0.75) }])
    expect(cellsOf(beside, 0)?.[2]).toBe('× Portkey')
    expect(cellsOf(beside, 2)?.[2]).toBe('0.75 (0.25–1.25)')
  })
})
