import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { apiKeyScan, drawApiKey, looksLikeApiKey, parseApiKey } from './api-key.js'

describe('API keys', () => {
  it('come apart into what they were drawn of', () => {
    for (const kind of ['live', 'test', 'refresh'] as const) {
      const key = drawApiKey(kind, 'AbCdEfGh0123')
      expect(key).toMatch(/^tg_(live|test|refresh)_AbCdEfGh0123_[0-9A-Za-z]{38}$/)
      expect(parseApiKey(key)).toMatchObject({ kind, id: 'AbCdEfGh0123' })
      expect(parseApiKey(key)?.secret).toHaveLength(32)
    }
  })

  it('have the checksum of a key written down once', () => {
    // CRC-32 (ISO 3309) of the text before it, computed apart from this code.
    const body = 'tg_live_000000000000_00000000000000000000000000000000'
    expect(parseApiKey(`${body}4D5z9Q`)?.id).toBe('000000000000')
    expect(parseApiKey(`${body}4D5z9R`)).toBeUndefined()
  })

  it('are never drawn twice', () => {
    expect(new Set(Array.from({ length: 500 }, () => drawApiKey('live'))).size).toBe(500)
  })

  it('are refused with one character changed, two swapped, one missing or one more', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 8, max: 58 }), fc.constantFrom(...'0Az_-. '), (_, at, other) => {
        const key = drawApiKey('live')
        const changed = `${key.slice(0, at)}${other}${key.slice(at + 1)}`
        if (changed !== key) expect(parseApiKey(changed)).toBeUndefined()
        const swapped = `${key.slice(0, at - 1)}${key[at]}${key[at - 1]}${key.slice(at + 1)}`
        if (swapped !== key) expect(parseApiKey(swapped)).toBeUndefined()
        expect(parseApiKey(key.slice(0, at) + key.slice(at + 1))).toBeUndefined()
        expect(parseApiKey(`${key.slice(0, at)}a${key.slice(at)}`)).toBeUndefined()
      }),
    )
  })

  it('are refused as a key of another kind: the checksum covers the kind', () => {
    expect(parseApiKey(drawApiKey('test').replace('_test_', '_live_'))).toBeUndefined()
  })

  it('never throws, whatever the text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseApiKey(text)).toBeUndefined()
        expect(looksLikeApiKey(text)).toBe(text.startsWith('tg_live_') || text.startsWith('tg_test_'))
      }),
    )
  })

  it('are found in a text by the published pattern', () => {
    const key = drawApiKey('live')
    expect(`export KEY="${key}" # tg_live_short`.match(apiKeyScan)).toEqual([key])
  })
})
