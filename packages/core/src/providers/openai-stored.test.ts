import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { listen } from '../../test/hosts.js'
import { reloadableService } from '../gateway/reloadable-service.js'
import { inferenceService } from '../inference/service.js'
import { openAiCompatible } from './openai-compatible.js'

const call = { signal: new AbortController().signal, requestId: 'r' }
const get = { method: 'GET', path: '/responses/resp_1', stream: false } as const

async function start(answer: (req: IncomingMessage, res: ServerResponse) => void, query = '') {
  const { url } = await listen(answer)
  const provider = (account: string) =>
    openAiCompatible({
      name: account,
      baseUrl: `${url}/v1${query}`,
      apiKey: 'sk-0',
      hasResponses: true,
      account: `of ${account}`,
    })
  const make = () => inferenceService({ providers: [provider('one'), provider('two')] })
  const service = reloadableService(make())
  onTestFinished(() => service.close())
  return { service, make }
}

const json = (res: ServerResponse, status: number, body: unknown) =>
  void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

describe('something stored', () => {
  it('is asked for with what the base URL asks for', async () => {
    const urls: unknown[] = []
    const { service } = await start((req, res) => {
      urls.push([req.method, req.url, req.headers.authorization])
      json(res, 200, {})
    }, '?api-version=preview')
    await service.stored('of one', get, call)
    await service.stored('of two', { ...get, method: 'DELETE', path: '/responses/resp_1?limit=2' }, call)
    expect(urls).toEqual([
      ['GET', '/v1/responses/resp_1?api-version=preview', 'Bearer sk-0'],
      ['DELETE', '/v1/responses/resp_1?limit=2&api-version=preview', 'Bearer sk-0'],
    ])
    await expect(service.stored('of three', get, call)).rejects.toMatchObject({ code: 'not_found' })
    expect(urls).toHaveLength(2)
  })

  it('may be a failure', async () => {
    const failed = { id: 'resp_1', status: 'failed', error: { code: 'server_error', message: 'no' } }
    const { service } = await start((_req, res) => json(res, 200, failed))
    const answer = await service.stored('of one', get, call)
    expect('bytes' in answer && JSON.parse(Buffer.from(answer.bytes).toString())).toEqual(failed)
  })

  it.each([
    [404, { error: { message: 'no', type: 'invalid_request_error' } }, 'not_found'],
    [400, { error: { message: 'Cannot cancel', type: 'invalid_request_error' } }, 'invalid_request'],
    [401, { error: { message: 'key', code: 'invalid_api_key' } }, 'upstream_credentials'],
    [429, {}, 'rate_limited'],
    [500, {}, 'upstream_failed'],
  ])('answers %s', async (status, body, code) => {
    const { service } = await start((_req, res) => json(res, status, body))
    for (const stream of [false, true]) {
      await expect(service.stored('of one', { ...get, stream }, call)).rejects.toMatchObject({ code })
    }
  })

  it('is nonsense in another form than was asked for, or without its end', async () => {
    const { service } = await start((req, res) => {
      if (req.url?.includes('html')) res.writeHead(200, { 'content-type': 'text/html' }).end('<p>')
      else if (req.headers.accept === 'application/json')
        res.writeHead(200, { 'content-type': 'text/event-stream' }).end()
      else res.writeHead(200, { 'content-type': 'text/event-stream' }).end('\uFEFFdata: {}\n\ndata: {"cu')
    })
    const nonsense = { code: 'upstream_invalid' }
    await expect(service.stored('of one', get, call)).rejects.toMatchObject(nonsense)
    await expect(service.stored('of one', { ...get, path: '/html', stream: true }, call)).rejects.toMatchObject(
      nonsense,
    )
    const answer = await service.stored('of one', { ...get, stream: true }, call)
    let text = ''
    const read = async () => {
      for await (const bytes of 'events' in answer ? answer.events : []) text += Buffer.from(bytes).toString()
    }
    await expect(read()).rejects.toMatchObject(nonsense)
    expect(text).toBe('data: {}\n\n')
  })

  it('is waited for no longer than the deadline, and not for a caller who has left', async () => {
    const closed: Array<Promise<void>> = []
    const { service } = await start((req, res) => {
      closed.push(new Promise((resolve) => void res.once('close', resolve)))
      if (req.url?.includes('silent')) return
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {}\n\n')
    })
    const silent = { ...get, path: '/silent' }
    const soon = { ...call, deadline: Date.now() + 100 }
    await expect(service.stored('of one', silent, soon)).rejects.toMatchObject({ code: 'timeout' })
    const leaving = new AbortController()
    const answer = await service.stored('of one', { ...get, stream: true }, { ...call, signal: leaving.signal })
    const read = async () => {
      for await (const _ of 'events' in answer ? answer.events : []) leaving.abort()
    }
    await expect(read()).rejects.toMatchObject({ code: 'client_closed' })
    await Promise.all(closed)
    expect(closed).toHaveLength(2)
  })

  it('keeps a service open that another has replaced, until its stream is over', async () => {
    let end = () => {}
    const { service, make } = await start((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
      end = () => void res.end('data: 2\n\n')
    })
    const answer = await service.stored('of one', { ...get, stream: true }, call)
    let isClosed = false
    const closed = service.replace(make()).then(() => {
      isClosed = true
    })
    let text = ''
    for await (const bytes of 'events' in answer ? answer.events : []) {
      text += Buffer.from(bytes).toString()
      expect(isClosed).toBe(false)
      end()
    }
    await closed
    expect(text).toBe('data: 1\n\ndata: 2\n\n')
  })
})
