import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { liveList } from './live-list.js'

describe('liveList', () => {
  it('holds what a Set would hold, in the same order', () => {
    const steps = fc.array(fc.oneof(fc.constant('add' as const), fc.constant('clear' as const), fc.nat({ max: 50 })))
    fc.assert(
      fc.property(steps, (given) => {
        const list = liveList<number>()
        const set = new Set<number>()
        const removals: Array<() => void> = []
        for (const step of given) {
          if (step === 'add') {
            set.add(removals.length)
            removals.push(list.add(removals.length))
          } else if (step === 'clear') {
            set.clear()
            list.clear()
          } else {
            set.delete(step)
            removals[step]?.()
          }
          expect([...list]).toEqual([...set])
          expect(list.isEmpty).toBe(set.size === 0)
        }
      }),
    )
  })

  it('lets the value that is shown be taken out', () => {
    const list = liveList<string>()
    const removals = new Map(['a', 'b', 'c'].map((name) => [name, list.add(name)]))
    const seen: string[] = []
    for (const name of list) {
      seen.push(name)
      removals.get(name)?.()
    }
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(list.isEmpty).toBe(true)
  })

  it('keeps nothing alive that was taken out, when it is old itself', () => {
    // In a process of its own: what a scavenge leaves must not depend on what other tests have made.
    const module = JSON.stringify(new URL('./live-list.ts', import.meta.url).href)
    const script = `
      const { getHeapSpaceStatistics } = await import('node:v8')
      const { liveList } = await import(${module})
      const list = liveList()
      const waiting = []
      const pass = (count) => {
        for (let made = 0; made < count; made += 1) {
          waiting.push(list.add(new Array(512).fill(made)))
          if (waiting.length > 32) waiting.shift()()
        }
      }
      const oldBytes = () => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space').space_used_size
      pass(1_000)
      gc({ type: 'major' })
      const before = oldBytes()
      pass(5_000)
      console.log(oldBytes() - before)`
    const grown = Number(execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script]))
    // All of what passed is 20 MB; 32 of it are under way, twice if a scavenge comes between.
    expect(grown).toBeLessThan(1_000_000)
  })
})
