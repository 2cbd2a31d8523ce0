import { describe, expect, it } from 'vitest'
import { failure, json, serve } from '../test/fixture-server.js'
import { createClient } from './index.js'

const clientOf = (url: string) => createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1 })
const page = (data: unknown[], next_cursor: string | null) =>
  json({ object: 'list', data, has_more: next_cursor !== null, next_cursor })

describe('usage', () => {
  it('is asked for by what is given, and read to its end', async () => {
    const { url, requests } = await serve(page([{ requests: 1 }], 'c1'), page([{ requests: 2 }], null))
    const seen: number[] = []
    const asked = {
      from: '2026-11-01T00:00:00Z',
      group_by: 'model,tag:project',
      per: 'day',
      time_zone: 'Europe/Berlin',
      user: 'a&b',
    } as const
    for await (const { requests: count } of clientOf(url).usage.iterate(asked)) seen.push(count)
    expect(seen).toEqual([1, 2])
    const query =
      '/v1/usage?from=2026-11-01T00%3A00%3A00Z&group_by=model%2Ctag%3Aproject&per=day&time_zone=Europe%2FBerlin&user=a%26b'
    expect(requests.map(({ path }) => path)).toEqual([query, `${query}&cursor=c1`])
    expect((await clientOf(url).usage.list()).data).toHaveLength(1)
  })
})

describe('limits', () => {
  it('are told, and asked beforehand', async () => {
    const rule = { object: 'limit', name: 'rpm' }
    const check = { object: 'limit_check', allowed: false, refused_by: ['rpm'] }
    const { url, requests } = await serve(page([rule], null), json(check), json({}))
    const { limits } = clientOf(url)
    expect(await limits.list()).toEqual([rule])
    expect(await limits.check({ model: 'm', input_tokens: 5 })).toEqual(check)
    expect(await failure(limits.check({ input_tokens: 5 }))).toMatchObject({ code: 'response_invalid' })
    expect(requests.slice(0, 2).map(({ method, path, body }) => [method, path, body])).toEqual([
      ['GET', '/v1/limits', ''],
      ['POST', '/v1/limits/check', '{"model":"m","input_tokens":5}'],
    ])
    expect(requests[1]?.headers).not.toHaveProperty('idempotency-key')
  })
})
