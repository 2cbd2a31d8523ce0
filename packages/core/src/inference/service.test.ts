import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { TollgateError } from '../errors.js'
import type { Usage } from '../usage.js'
import type { Call, Model, ModelStream } from './model.js'
import type { Provider } from './provider.js'
import { type InferenceServiceOptions, inferenceService } from './service.js'
import type { Part, Result, Task } from './task.js'

const used: Usage = { inputTokens: 3, outputTokens: 2, estimated: false }
const prompt: Usage = { inputTokens: 3, outputTokens: 0, estimated: true }
const result: Result<'generate'> = { output: { text: 'hi', toolCalls: [], finishReason: 'stop' }, usage: used }
const input = { messages: [{ role: 'user' as const, content: 'hello' }] }
const text: Part<'generate'> = { type: 'text', text: 'hi' }
const end: Part<'generate'> = { type: 'end', finishReason: 'stop', usage: used }

function service(model: Partial<Model<'generate'>>, options: Partial<InferenceServiceOptions> = {}) {
  const whole = { task: 'generate', provider: 'p', id: 'm', run: async () => result, ...model } as Model<'generate'>
  const provider: Provider = {
    name: 'p',
    model: <T extends Task>(task: T, id: string, version?: string) =>
      task === 'generate' && id === 'm' && version === undefined ? (whole as Model as Model<T>) : undefined,
    list: async () => [{ id: 'm', task: 'generate' }],
  }
  return inferenceService({ providers: [provider], ...options })
}

function streamOf(make: (call: Call) => AsyncIterable<Part<'generate'>>, usageSoFar = () => prompt) {
  return (_input: unknown, call: Call): ModelStream<'generate'> => Object.assign(make(call), { usageSoFar })
}

function call(more: Partial<Call> = {}): Call {
  return { signal: new AbortController().signal, requestId: 'r', ...more }
}

async function collect(parts: AsyncIterable<Part<'generate'>>): Promise<Part<'generate'>[]> {
  const all: Part<'generate'>[] = []
  for await (const part of parts) all.push(part)
  return all
}

const never = () => new Promise<never>(() => {})

describe('inferenceService.run', () => {
  it('runs the model by its name, or the default of the task', async () => {
    const run = vi.fn(async () => result)
    const models = service({ run }, { defaultModels: { generate: 'm' } })
    expect(await models.run('generate', 'm', input, call())).toBe(result)
    expect(await models.run('generate', undefined, input, call())).toBe(result)
    expect(run).toHaveBeenCalledTimes(2)
  })

  it('says what there is when there is no such model, and asks for a name when there is no default', async () => {
    const models = service({})
    await expect(models.run('generate', 'x', input, call())).rejects.toMatchObject({
      code: 'model_not_found',
      message: expect.stringMatching(/: m\.$/),
    })
    await expect(models.run('embed', undefined, { inputs: [] }, call())).rejects.toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'model' }],
    })
    await expect(models.resolve('generate', 'm', '7')).rejects.toMatchObject({ code: 'model_not_found' })
    expect((await models.resolve('generate', 'm')).id).toBe('m')
    await expect(models.describe('x')).rejects.toMatchObject({ code: 'model_not_found' })
  })

  it('asks about the target first; a refusal is not run', async () => {
    const order: string[] = []
    const run = async () => {
      order.push('run')
      return result
    }
    const models = service({ run, version: '7' })
    await models.run(
      'generate',
      'm',
      input,
      call({ dispatching: async (target) => void order.push(JSON.stringify(target)) }),
    )
    expect(order).toEqual(['{"provider":"p","model":"m","version":"7"}', 'run'])
    const refuse = () => {
      throw new TollgateError('price_unknown', 'no')
    }
    const spent = vi.fn()
    await expect(models.run('generate', 'm', input, call({ dispatching: refuse, spent }))).rejects.toMatchObject({
      code: 'price_unknown',
    })
    expect(order).toHaveLength(2)
    expect(spent).not.toHaveBeenCalled()
  })

  it('ends at the deadline though the model does not heed the signal, and tells what the prompt cost', async () => {
    let seen: AbortSignal | undefined
    const run = (_input: unknown, { signal }: Call) => {
      seen = signal
      return never()
    }
    const spent = vi.fn()
    const models = service({ run, inputUsage: () => prompt }, { timeoutMs: 20 })
    await expect(models.run('generate', 'm', input, call({ spent }))).rejects.toMatchObject({
      code: 'timeout',
      status: 504,
    })
    expect(seen?.aborted).toBe(true)
    expect(spent).toHaveBeenCalledExactlyOnceWith(prompt)
  })

  it('takes the earlier of the call’s deadline and its own', async () => {
    const seen: Array<number | undefined> = []
    const run = async (_input: unknown, { deadline }: Call) => {
      seen.push(deadline)
      return result
    }
    const models = service({ run }, { timeoutMs: 1000, now: () => 5000 })
    for (const deadline of [5500, 9000, undefined]) {
      await models.run('generate', 'm', input, call(deadline === undefined ? {} : { deadline }))
    }
    expect(seen).toEqual([5500, 6000, 6000])
  })

  it.each<[string, unknown, string]>([
    ['the caller leaves', undefined, 'client_closed'],
    ['AbortSignal.timeout fires', new DOMException('late', 'TimeoutError'), 'timeout'],
    ['the server shuts down', new TollgateError('not_ready', 'closing'), 'not_ready'],
  ])('says that %s', async (_name, reason, code) => {
    const controller = new AbortController()
    const models = service({ run: never })
    const run = models.run('generate', 'm', input, call({ signal: controller.signal }))
    controller.abort(reason)
    await expect(run).rejects.toMatchObject({ code })
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
    await expect(models.run('generate', 'm', input, call({ signal: controller.signal }))).rejects.toMatchObject({
      code,
    })
  })

  it('stops a question about the target that does not end', async () => {
    const run = vi.fn(async () => result)
    const models = service({ run }, { timeoutMs: 10 })
    await expect(models.run('generate', 'm', input, call({ dispatching: never }))).rejects.toMatchObject({
      code: 'timeout',
    })
    expect(run).not.toHaveBeenCalled()
  })

  it('passes the model’s own errors on, with nothing spent', async () => {
    const spent = vi.fn()
    const error = new TollgateError('upstream_failed', 'no')
    const models = service({ run: () => Promise.reject(error), inputUsage: () => prompt })
    await expect(models.run('generate', 'm', input, call({ spent }))).rejects.toBe(error)
    expect(spent).not.toHaveBeenCalled()
  })

  it('leaves no listener on a signal that calls share', async () => {
    const { signal } = new AbortController()
    const models = service({
      stream: streamOf(async function* () {
        yield end
      }),
    })
    for (let round = 0; round < 50; round += 1) {
      await models.run('generate', 'm', input, call({ signal }))
      await collect(models.stream('generate', 'm', input, call({ signal })))
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('inferenceService.stream', () => {
  it('streams to the end part, and tells nothing twice', async () => {
    const spent = vi.fn()
    const models = service({
      stream: streamOf(async function* () {
        yield text
        yield end
      }),
    })
    expect(await collect(models.stream('generate', 'm', input, call({ spent })))).toEqual([text, end])
    expect(spent).not.toHaveBeenCalled()
  })

  it('does nothing before the first part is asked for', async () => {
    const dispatching = vi.fn()
    const models = service({})
    const stream = models.stream('generate', 'm', input, call({ dispatching }))
    await new Promise((resolve) => setImmediate(resolve))
    expect(dispatching).not.toHaveBeenCalled()
    expect(stream.usageSoFar()).toMatchObject({ inputTokens: 0 })
    await expect(collect(models.stream('generate', 'x', input, call()))).rejects.toMatchObject({
      code: 'model_not_found',
    })
  })

  it('gives the answer of a model that cannot stream in one part', async () => {
    const models = service({})
    expect(await collect(models.stream('generate', 'm', input, call()))).toEqual([text, end])
  })

  it('gives such a model what was asked in our words, which may be getters', async () => {
    const run = vi.fn(() => Promise.resolve(result))
    const models = service({ run })
    class Asked {
      native = { dialect: 'openai-chat' as const, body: { stream: true } }
      get messages() {
        return input.messages
      }
    }
    await collect(models.stream('generate', 'm', new Asked(), call()))
    expect(run).toHaveBeenCalledExactlyOnceWith(input, expect.anything())
  })

  it('lets go of the model, and tells what was spent, when its reader breaks off', async () => {
    let released = false
    const spent = vi.fn()
    const stream = streamOf(async function* () {
      try {
        yield text
        yield end
      } finally {
        released = true
      }
    })
    const models = service({ stream })
    for await (const _ of models.stream('generate', 'm', input, call({ spent }))) break
    expect(released).toBe(true)
    expect(spent).toHaveBeenCalledExactlyOnceWith(prompt)
  })

  it('ends a part that is waited for at the deadline, though the model does not heed the signal', async () => {
    const spent = vi.fn()
    const stream = streamOf(async function* () {
      yield text
      await never()
    })
    const models = service({ stream }, { timeoutMs: 30 })
    const parts = models.stream('generate', 'm', input, call({ spent }))[Symbol.asyncIterator]()
    expect(await parts.next()).toEqual({ done: false, value: text })
    await expect(parts.next()).rejects.toMatchObject({ code: 'timeout' })
    expect(spent).toHaveBeenCalledExactlyOnceWith(prompt)
    expect(await parts.next()).toEqual({ done: true, value: undefined })
  })

  it('tells a reader who comes back after the abort, and not that all went well', async () => {
    const controller = new AbortController()
    const spent = vi.fn()
    const models = service({
      stream: streamOf(async function* () {
        yield text
        yield end
      }),
    })
    const parts = models
      .stream('generate', 'm', input, call({ signal: controller.signal, spent }))
      [Symbol.asyncIterator]()
    await parts.next()
    controller.abort()
    expect(spent).toHaveBeenCalledOnce()
    await expect(parts.next()).rejects.toMatchObject({ code: 'client_closed' })
  })

  it('takes a stream without an end part for a cut one', async () => {
    const spent = vi.fn()
    const models = service({
      stream: streamOf(async function* () {
        yield text
      }),
    })
    await expect(collect(models.stream('generate', 'm', input, call({ spent })))).rejects.toMatchObject({
      code: 'upstream_invalid',
    })
    expect(spent).toHaveBeenCalledExactlyOnceWith(prompt)
  })

  it('passes on an error of the model with what was spent, and of the one who is told', async () => {
    const failing = streamOf(async function* (): AsyncGenerator<Part<'generate'>> {
      yield text
      throw new TollgateError('upstream_failed', 'broke')
    })
    const models = service({ stream: failing })
    await expect(collect(models.stream('generate', 'm', input, call()))).rejects.toMatchObject({
      code: 'upstream_failed',
    })
    const spent = () => {
      throw new TollgateError('internal', 'ledger')
    }
    await expect(collect(models.stream('generate', 'm', input, call({ spent })))).rejects.toMatchObject({
      code: 'internal',
    })
  })

  it('refuses a task that has no streams', async () => {
    const embed = { task: 'embed', provider: 'p', id: 'e', run: never } as unknown as Model<'embed'>
    const provider: Provider = { name: 'p', model: <T extends Task>() => embed as Model as Model<T> }
    const models = inferenceService({ providers: [provider] })
    const parts = models.stream('embed', 'e', { inputs: ['a'] }, call())[Symbol.asyncIterator]()
    await expect(parts.next()).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

describe('inferenceService', () => {
  it.each<[string, unknown, RegExp]>([
    ['no providers', { providers: [] }, /at least one provider/],
    ['a provider that is none', { providers: [{}] }, /providers/],
    ['an unknown option', { providers: [{ name: 'p', model: () => undefined }], timeout: 5 }, /timeout/],
    ['a timeout of 0', { providers: [{ name: 'p', model: () => undefined }], timeoutMs: 0 }, /timeoutMs/],
  ])('refuses %s', (_name, options, message) => {
    expect(() => inferenceService(options as never)).toThrow(message)
  })
})
