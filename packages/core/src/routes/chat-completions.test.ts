import { describe, expect, it } from 'vitest'
import { collected, dataOf, gate, messages, post, quiet, start } from '../../test/chat-gate.js'
import { eachHost, listen } from '../../test/hosts.js'
import { upstreamKey, wordsOf } from '../../test/openai-upstream.js'
import { isTollgateError, TollgateError } from '../errors.js'
import { contextOf } from '../http/context.js'
import { type Handler, listener, middleware } from '../http/handler.js'
import { onDispatch } from '../http/record-usage.js'
import { inferenceService } from '../inference/service.js'
import { errorHandler } from '../middleware/error-handler.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { chatCompletions } from './chat-completions.js'

eachHost((host) => {
  it('relays an answer and a stream, and refuses a bad request', async () => {
    const { observe, handler } = await gate()
    const { url } = await host.start(observe, ['/v1/chat/completions', handler], errorHandler({ log: quiet }))
    const path = `${url}/v1/chat/completions`
    const whole = await post(path, { model: 'gpt-test', messages })
    expect(whole.status).toBe(200)
    expect(whole.headers.get('content-type')).toMatch(/^application\/json/)
    expect(await whole.json()).toMatchObject({ choices: [{ message: { content: wordsOf().join('') } }] })
    const stream = await post(path, { model: 'gpt-test', messages, stream: true })
    expect(stream.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect((await dataOf(stream)).at(-1)).toBe('[DONE]')
    const refused = await post(path, { model: 'gpt-test', messages: [{ role: 'king', content: 'x' }] })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: { type: 'invalid_request_error', param: 'messages[0].role' } })
  })
})

describe('the body sent upstream', () => {
  it('relays a whole answer byte for byte', async () => {
    const body =
      '{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],   "odd" : 1}'
    const { url, nextEnd } = await start({ 'gpt-test': { answer: { status: 200, body } } })
    const ended = nextEnd()
    expect(await (await post(url, { model: 'gpt-test', messages })).text()).toBe(body)
    // No usage in there: it is counted.
    expect((await ended).usage).toMatchObject({ outputTokens: 1, estimated: true })
  })

  it('relays a stream byte for byte when its caller asked for usage', async () => {
    const { url, upstream } = await start({ 'gpt-test': { split: 'random', lineEnd: '\r\n', noisy: true } })
    const body = { model: 'gpt-test', messages, stream: true, stream_options: { include_usage: true } }
    const direct = await post(`${upstream.baseUrl}/chat/completions`, body, {
      headers: { authorization: `Bearer ${upstreamKey}` },
    })
    const relayed = await post(url, body)
    const ours = (await relayed.text()).replace('data: [DONE]\n\n', '')
    expect(ours).toBe(
      (await direct.text()).replace(': comment\r\n\r\ndata: [DONE]\r\n\r\n', ': comment\r\n\r\n').replace('\uFEFF', ''),
    )
  })
})

describe('without an upstream that speaks the API', () => {
  it('streams typed parts in the shape the SDK wants', async () => {
    const { client, nextEnd } = await start()
    const ended = nextEnd()
    const stream = await client.chat.completions.create({
      model: 'echo',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = await collected(stream)
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(messages[0]?.content)
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop')
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 7 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect((await ended).usage).toEqual({ inputTokens: 7, outputTokens: 7, estimated: false })
  })

  it('has no usage key in a stream whose caller did not ask', async () => {
    const { url } = await start()
    const data = await dataOf(await post(url, { model: 'echo', messages, stream: true }))
    for (const each of data.slice(0, -1)) expect(JSON.parse(each)).not.toHaveProperty('usage')
    expect(data.at(-1)).toBe('[DONE]')
  })

  it('answers whole, and cuts at max_tokens', async () => {
    const { client } = await start()
    const { choices, usage, model } = await client.chat.completions.create({ model: 'echo', messages, max_tokens: 2 })
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { role: 'assistant', content: 'Say hell' } })
    expect([usage?.completion_tokens, model]).toEqual([2, 'echo'])
  })

  it('refuses more than one answer, naming the field', async () => {
    const { url } = await start()
    for (const stream of [false, true]) {
      const response = await post(url, { model: 'echo', messages, n: 2, stream })
      expect([response.status, await response.json()]).toMatchObject([400, { error: { param: 'n' } }])
    }
  })
})

describe('the gate', () => {
  it('asks about the target that is dispatched, before it is', async () => {
    const { service, upstream } = await gate()
    const asked: unknown[] = []
    const refuse: Handler = middleware('refuse', (context) => {
      onDispatch(context, async (_context, target) => {
        asked.push(target)
        throw new TollgateError('price_unknown', 'No price.')
      })
    })
    const { url } = await listen(listener(refuse, chatCompletions({ service }), errorHandler({ log: quiet })))
    for (const stream of [false, true]) {
      expect((await post(url, { model: 'fast', messages, stream })).status).toBe(400)
    }
    expect(asked).toEqual(Array(2).fill({ provider: 'up', model: 'gpt-test' }))
    expect(upstream.calls).toHaveLength(0)
  })

  it('stops at the deadline of the request, and says which it was', async () => {
    const { service, upstream } = await gate({ 'gpt-test': { stallAfter: -1 } })
    const errors: unknown[] = []
    const deadline = middleware('deadline', (context) => {
      context.deadline = Date.now() + 50
    })
    const { url } = await listen((req, res) => {
      contextOf(req, res)
      const catching: Handler = (request, response, next) =>
        chatCompletions({ service })(request, response, (error) => {
          errors.push(error)
          next(error)
        })
      listener(deadline, catching, errorHandler({ log: quiet }))(req, res)
    })
    const called = upstream.next()
    expect((await post(url, { model: 'gpt-test', messages })).status).toBe(504)
    expect(isTollgateError(errors[0], 'timeout')).toBe(true)
    expect(await (await called).broken).toBe(true)
  })

  it('answers 404 naming what exists, 405 with Allow, and 400 for bad JSON', async () => {
    const { service } = await gate()
    const only = inferenceService({ providers: [echoProvider({ tokenizer: byteTokenizer })] })
    const { url } = await listen(listener(chatCompletions({ service: only }), errorHandler({ log: quiet })))
    const unknown = await post(url, { model: 'nope', messages })
    expect([unknown.status, await unknown.json()]).toMatchObject([
      404,
      { error: { code: 'model_not_found', message: expect.stringMatching(/"nope".*echo/) } },
    ])
    const get = await fetch(url)
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
    const bad = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' })
    expect(bad.status).toBe(400)
    await service.ready()
  })

  it('refuses options that are wrong', () => {
    expect(() => chatCompletions({} as never)).toThrow(/service/)
    expect(() => chatCompletions({ service: {}, hearbeatMs: 5 } as never)).toThrow(/hearbeatMs/)
  })
})
