import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import type { RequestContext } from './context.js'
import { pathOf, queryParams, routeMatcher, routeTemplate } from './route-template.js'

const context = { route: undefined } as RequestContext
const template = (fields: object, of: Partial<RequestContext> = {}) =>
  routeTemplate({ ...context, ...of }, fields as IncomingMessage)

describe('pathOf', () => {
  it('is what the caller sent, without the query', () => {
    expect(pathOf({ url: '/rest?x=1', originalUrl: '/v1/rest?x=1' } as never)).toBe('/v1/rest')
    expect(pathOf({ url: '/a#b' } as never)).toBe('/a')
    expect(pathOf({} as never)).toBe('/')
  })

  it('is what follows the host in a target in absolute form', () => {
    expect(pathOf({ url: 'http://keys:99999999/v1/keys?x=1' } as never)).toBe('/v1/keys')
    expect(pathOf({ url: 'http://[/v1/keys' } as never)).toBe('/v1/keys')
    expect([...queryParams({ url: 'http://[/v1?a=1&b=%20#c' } as never)]).toEqual([
      ['a', '1'],
      ['b', ' '],
    ])
    expect([...queryParams({ url: '/v1' } as never)]).toEqual([])
  })
})

describe('routeTemplate', () => {
  it("is the framework's, else what a route of ours says", () => {
    expect(template({ route: { path: '/a/:b' } }, { route: '/ours' })).toBe('/a/:b')
    expect(template({ route: { path: ['/a', '/b'] } })).toBe('/a,/b')
    expect(template({ route: { path: /^\/x/ } })).toBe('/^\\/x/')
    expect(template({}, { route: '/ours' })).toBe('/ours')
    expect(template({ route: {} })).toBeUndefined()
    expect(template({ route: 'a string' })).toBeUndefined()
  })

  it('writes one mount in one way', () => {
    const route = { path: '/x' }
    expect(template({ route, baseUrl: '/Api' })).toBe('/api/x')
    expect(template({ route, baseUrl: '/aPI' })).toBe('/api/x')
  })

  it('puts names where a mount holds values', () => {
    expect(template({ route: { path: '/x' }, baseUrl: '/t/a%20B', params: { tenant: 'a b' } })).toBe('/t/:tenant/x')
    expect(template({ route: { path: '/x' }, baseUrl: '/t/%ff', params: { tenant: 'a' } })).toBe('/t/%ff/x')
  })
})

describe('routeMatcher', () => {
  const match = routeMatcher(['/', '/v1/models', '/v1/models/{name}', '/v1/:kind/x.y', '/files/*path'])

  it.each([
    ['/', '/'],
    ['/v1/models', '/v1/models'],
    ['/v1/models/', '/v1/models'],
    ['/v1/models/gpt', '/v1/models/{name}'],
    ['/v1/a/x.y', '/v1/:kind/x.y'],
    ['/v1/a/xzy', undefined],
    ['/files/a/b/c', '/files/*path'],
    ['/v1/models/a/b', undefined],
    ['/v2', undefined],
  ])('%s is %s', (path, expected) => {
    expect(match(path)).toBe(expected)
  })
})
