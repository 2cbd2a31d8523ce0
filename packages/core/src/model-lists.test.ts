import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mayUseModel } from './model-lists.js'

const target = { provider: 'openai', model: 'gpt-4o-mini', version: '2' }

describe('mayUseModel', () => {
  it.each([
    [['gpt-4o-mini'], true],
    [['openai/gpt-4o-mini'], true],
    [['gpt-4o-mini@2'], true],
    [['openai/*'], true],
    [['gpt-*-mini'], true],
    [['*'], true],
    [['gpt-4o'], false],
    [['GPT-4O-MINI'], false],
    [['azure/*'], false],
    [['gpt-4o-mini@1'], false],
    [['gpt-4o-mini*mini'], false],
    [['.*', '^gpt', '[a-z]+'], false],
    [[], false],
    [[''], false],
  ])('list %j: %s', (list, allowed) => {
    expect(mayUseModel([list], target)).toBe(allowed)
  })

  it('wants it in every list, and without lists allows all', () => {
    expect(mayUseModel([['*'], ['openai/*']], target)).toBe(true)
    expect(mayUseModel([['*'], ['azure/*']], target)).toBe(false)
    expect(mayUseModel(undefined, target)).toBe(true)
  })

  it('matches stars as a regular expression would', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (pattern, name) => {
        const expression = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`, 's')
        expect(mayUseModel([[pattern]], { provider: '#', model: name })).toBe(
          expression.test(name) || expression.test(`#/${name}`),
        )
      }),
    )
  })
})
