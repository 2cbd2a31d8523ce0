import fc from 'fast-check'
import { expect, it } from 'vitest'
import { jsonWatch } from './json-watch.js'

function watch(json: string, size: number) {
  const watched = jsonWatch(new Set(['usage', 'error']), 'data')
  const bytes = Buffer.from(json)
  for (let at = 0; at < bytes.length; at += size) watched.push(bytes.subarray(at, at + size))
  return { usage: watched.field('usage'), error: watched.field('error'), items: watched.items() }
}

it.each([1, 2, 3, 7, 1_000])('keeps fields of the object itself, in pieces of %i bytes', (size) => {
  const usage = { input_tokens: 3, note: 'a "quoted" \\ {}[],: 你好' }
  const others = { note: '"usage": {"input_tokens": 9}', deep: { usage: 1, data: [{}] }, 'us\\"age': 2, end: '\\\\' }
  const answer = { ...others, data: [{ b64_json: 'AAAA', nested: [{}] }, {}], usage, error: null, last: [{}, 'data'] }
  for (const json of [JSON.stringify(answer), JSON.stringify(answer, null, 2)]) {
    expect(watch(json, size)).toEqual({ usage, error: null, items: 2 })
  }
})

it('finds in any object what a parser finds', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom('usage', 'error', 'data', 'a"b\\', 'x'), fc.jsonValue()),
      fc.integer({ min: 1, max: 40 }),
      (answer, size) => {
        const { usage, error } = watch(JSON.stringify(answer), size)
        const parsed = JSON.parse(JSON.stringify(answer)) as typeof answer
        expect([usage, error]).toEqual([parsed['usage'], parsed['error']])
      },
    ),
  )
})

it('keeps nothing that is too long', () => {
  expect(watch(`{"usage":"${'x'.repeat(70_000)}","error":1}`, 1_000)).toEqual({ usage: undefined, error: 1, items: 0 })
})
