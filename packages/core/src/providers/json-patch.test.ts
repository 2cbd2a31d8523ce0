import { describe, expect, it } from 'vitest'
import { compilePatches } from './json-patch.js'

const body = () => ({ a: { b: 1 }, list: [{ x: 1 }, { x: 2 }], 'odd/~name': 1 })

describe('compilePatches', () => {
  it.each([
    ['sets', [{ pointer: '/c', value: 1 }], { ...body(), c: 1 }],
    ['sets deep, making what is missing', [{ pointer: '/n/m/o', value: [1] }], { ...body(), n: { m: { o: [1] } } }],
    ['replaces', [{ pointer: '/a/b', value: null }], { ...body(), a: { b: null } }],
    ['takes away', [{ pointer: '/a/b' }], { ...body(), a: {} }],
    ['takes nothing away where nothing is', [{ pointer: '/z/y' }, { pointer: '/q' }], body()],
    ['changes a list', [{ pointer: '/list/1/x', value: 9 }], { ...body(), list: [{ x: 1 }, { x: 9 }] }],
    ['takes out of a list', [{ pointer: '/list/0' }], { ...body(), list: [{ x: 2 }] }],
    ['adds to a list', [{ pointer: '/list/-', value: 3 }], { ...body(), list: [{ x: 1 }, { x: 2 }, 3] }],
    [
      'leaves a list alone that has no such place',
      [
        { pointer: '/list/7', value: 1 },
        { pointer: '/list/x', value: 1 },
      ],
      body(),
    ],
    ['reads escapes', [{ pointer: '/odd~1~0name', value: 2 }], { ...body(), 'odd/~name': 2 }],
  ])('%s', (_name, patches, wanted) => {
    const before = body()
    expect(compilePatches(patches)(before)).toEqual(wanted)
    expect(before).toEqual(body())
  })

  it('refuses the prototype', () => {
    for (const pointer of ['/__proto__/x', '/a/constructor', '/prototype']) {
      expect(() => compilePatches([{ pointer, value: 1 }])).toThrow(/no pointer/)
    }
  })
})
