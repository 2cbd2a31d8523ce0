import { describe, expect, it } from 'vitest'
import { failure, json, serve } from '../test/fixture-server.js'
import { type ClientOptions, createClient } from './index.js'

const ok = json({ response: 'hi' })
const prompt = { prompt: 'tell nobody' }
const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, apiKey: 'secret-key', backoffBaseMs: 1, ...options })

describe('options', () => {
  const options = (given: object) => () => createClient(given as ClientOptions)
  const base = { baseUrl: 'http://localhost' }

  it.each<[string, object, string]>([
    ['no baseUrl', {}, 'baseUrl'],
    ['a relative baseUrl', { baseUrl: '/api' }, 'baseUrl'],
    ['a baseUrl with a password', { baseUrl: 'http://a:hunter2@localhost' }, 'baseUrl'],
    ['a baseUrl with a query', { baseUrl: 'http://localhost/?key=hunter2' }, 'baseUrl'],
    ['another protocol', { baseUrl: 'ftp://localhost' }, 'baseUrl'],
    ['a misspelt option', { ...base, timeout: 5 }, 'timeout'],
    ['NaN', { ...base, timeoutMs: Number.NaN }, 'timeoutMs'],
    ['a fraction', { ...base, maxAttempts: 1.5 }, 'maxAttempts'],
    ['no attempts', { ...base, maxAttempts: 0 }, 'maxAttempts'],
    ['both ways to log in', { ...base, apiKey: 'k', credentials: { username: 'a', password: 'b' } }, 'credentials'],
    ['no password', { ...base, credentials: { username: 'a', password: '' } }, 'credentials'],
    ['no client secret', { ...base, credentials: { clientId: 'a' } }, 'credentials'],
    ['an empty client id', { ...base, credentials: { clientId: '', clientSecret: 'hunter2' } }, 'credentials'],
    [
      'a user and a client at once',
      { ...base, credentials: { username: 'a', password: 'hunter2', clientId: 'b', clientSecret: 'hunter2' } },
      'credentials',
    ],
    ['a key with a line end', { ...base, apiKey: 'hunter2\n' }, 'apiKey'],
    ['a header with a line end', { ...base, headers: { 'x-a': 'hunter2\n\nhunter2' } }, 'x-a'],
    ['a hook that is none', { ...base, onRetry: 5 }, 'onRetry'],
  ])('refuses %s', (_, given, named) => {
    expect(options(given)).toThrow(expect.objectContaining({ kind: 'usage', code: 'options_invalid' }))
    expect(options(given)).toThrow(named)
    expect(options(given)).not.toThrow('hunter2')
  })

  it('rejects wrong options of a call before anything is sent', async () => {
    const { url, requests } = await serve(ok)
    const client = clientOf(url)
    for (const wrong of [{ timeoutMS: 5 }, { maxAttempts: 0 }, { idempotencyKey: 'a b' }, { signal: 5 }]) {
      expect(await failure(client.inference(prompt, wrong as object))).toMatchObject({ code: 'options_invalid' })
    }
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    for (const wrong of [undefined, 'x', [], circular, { prompt: 1n }]) {
      expect(await failure(client.inference(wrong as never))).toMatchObject({ code: 'request_invalid' })
    }
    const late = clientOf(url, { apiKey: () => 'hunter2\n' })
    const error = await failure(late.inference(prompt))
    expect(error).toMatchObject({ code: 'options_invalid' })
    expect(String(error)).not.toContain('hunter2')
    expect(requests).toHaveLength(0)
  })
})
