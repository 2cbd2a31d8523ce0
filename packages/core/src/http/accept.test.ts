import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { preferredType } from './accept.js'

const offered = ['text/plain', 'application/openmetrics-text', 'application/json'] as const

describe('preferredType', () => {
  it.each([
    [undefined, 'text/plain'],
    ['', 'text/plain'],
    ['*/*', 'text/plain'],
    ['application/json', 'application/json'],
    ['APPLICATION/JSON', 'application/json'],
    ['application/*', 'application/openmetrics-text'],
    ['application/json;q=0.5, text/plain;q=0.4', 'application/json'],
    ['application/json, */*;q=0.1', 'application/json'],
    ['text/plain;q=0, */*', 'application/openmetrics-text'],
    ['application/json;q=0', 'text/plain'],
    ['image/png', 'text/plain'],
    ['application/json;q=2, text/plain;q=0.1', 'text/plain'],
    // What Prometheus 2 and 3 send.
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      'application/openmetrics-text',
    ],
    ['text/plain;version=0.0.4;q=0.5,*/*;q=0.1', 'text/plain'],
  ])('%s is %s', (accept, type) => {
    expect(preferredType(accept, offered)).toBe(type)
  })

  it('answers whatever is sent with something on offer', () => {
    fc.assert(fc.property(fc.string({ maxLength: 200 }), (accept) => offered.includes(preferredType(accept, offered))))
  })
})
