import assert from 'node:assert/strict'
import { isTollgateError, TollgateError } from '../errors.js'
import type { Call, Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { EmbedInput, GenerateInput, Part, PredictInput, Task } from '../inference/task.js'
import type { Usage } from '../usage.js'

/** What is put to the test: a provider, and the models of it that the cases may run. */
export interface ProviderSubject {
  /** A fresh provider for each case; the case closes it. */
  make(): Provider | Promise<Provider>
  /** A model for each task it has. */
  readonly models: Readonly<Partial<Record<Task, string>>>
  /** Rows that the `predict` model takes. */
  readonly rows?: readonly unknown[]
}

export interface ProviderCase {
  readonly name: string
  run(subject: ProviderSubject): Promise<void>
}

const generateInput: GenerateInput = deepFrozen({
  messages: [
    { role: 'system', content: 'You are brief.' },
    {
      role: 'user',
      content: 'Count from one to ten in words, then stop: one two three four five six seven eight nine ten.',
    },
  ],
})
const embedInput: EmbedInput = deepFrozen({ inputs: ['a red fox', 'a blue whale', 'a red fox'] })

/**
 * What every provider keeps to. Plain data, for any test runner; a case about a task that the subject has no model for passes at once.
 *
 * @example for (const { name, run } of providerCases) it(name, () => run({ make: () => myProvider(), models: { generate: 'm' } }))
 */
export const providerCases: readonly ProviderCase[] = [
  on('names its models after what was asked for', async (provider, { models }) => {
    assert.notEqual(provider.name, '')
    for (const [task, id] of Object.entries(models) as Array<[Task, string]>) {
      const model = provider.model(task, id)
      assert.ok(model !== undefined, `there is no ${task} model "${id}"`)
      assert.deepEqual([model.task, model.provider], [task, provider.name])
      assert.notEqual(model.id, '')
    }
  }),
  on('has no model of a name or a version it does not know', async (provider, { models }) => {
    if (provider.anyName === true) return
    for (const [task, id] of Object.entries(models) as Array<[Task, string]>) {
      assert.equal(provider.model(task, 'no-such-model'), undefined)
      assert.equal(provider.model(task, '__proto__'), undefined)
      assert.equal(provider.model(task, id, 'no-such-version'), undefined)
    }
  }),
  on('lists only models that it has', async (provider) => {
    for (const { id, task, version } of (await provider.list?.()) ?? []) {
      assert.ok(provider.model(task, id, version) !== undefined, `it lists ${task} "${id}", but does not have it`)
    }
  }),
  onTask('generate', 'generates a text with its usage', async (model) => {
    const { output, usage } = await model.run(generateInput, call())
    assert.notEqual(output.text, '')
    assert.ok(isUsage(usage) && usage.inputTokens > 0 && totalTokens(usage) > usage.inputTokens)
  }),
  onTask('generate', 'streams the same text, and ends in exactly one end part', async (model) => {
    const parts = await collect(model, generateInput, call())
    assert.equal(parts.filter(({ type }) => type === 'end').length, 1)
    const end = parts.at(-1)
    assert.ok(end?.type === 'end' && isUsage(end.usage) && totalTokens(end.usage) > 0)
    const { output } = await model.run(generateInput, call())
    assert.equal(textOf(parts), output.text)
    assert.equal(end.finishReason, output.finishReason)
  }),
  onTask('generate', 'knows what a stream has used, before, within and after', async (model) => {
    const stream = model.stream?.(generateInput, call())
    if (stream === undefined) return
    assert.equal(totalTokens(stream.usageSoFar()), 0)
    let last = 0
    let told: number | undefined
    for await (const part of stream) {
      const now = totalTokens(stream.usageSoFar())
      assert.ok(isUsage(stream.usageSoFar()) && now > 0)
      if (part.type === 'end') told = totalTokens(part.usage)
      else assert.ok(now >= last, 'usage shrinks within the stream')
      last = now
    }
    assert.equal(last, told)
  }),
  onTask('generate', 'keeps to its own usage when a reader breaks off, and runs again', async (model) => {
    const stream = model.stream?.(generateInput, call())
    if (stream === undefined) return
    for await (const _ of stream) break
    assert.ok(totalTokens(stream.usageSoFar()) > 0)
    await model.run(generateInput, call())
  }),
  onTask('generate', 'does not begin for a caller who has left', async (model) => {
    const left = AbortSignal.abort(new TollgateError('client_closed', 'gone'))
    await rejectsWith('client_closed', () => model.run(generateInput, call(left)))
    if (model.stream !== undefined) await rejectsWith('client_closed', () => collect(model, generateInput, call(left)))
  }),
  onTask('generate', 'stops in mid-stream for the reason that the signal gives', async (model) => {
    const controller = new AbortController()
    const stream = model.stream?.(generateInput, call(controller.signal))
    if (stream === undefined) return
    await rejectsWith('timeout', async () => {
      for await (const _ of stream) controller.abort(new TollgateError('timeout', 'over'))
    })
    assert.ok(totalTokens(stream.usageSoFar()) > 0)
  }),
  onTask('generate', 'gives as many answers as were asked for, or refuses', async (model) => {
    const messages = [{ role: 'user', content: 'Say hello.' }]
    const body = { model: model.id, messages, n: 2 }
    try {
      const { output } = await model.run({ ...generateInput, native: { dialect: 'openai-chat', body } }, call())
      // A provider of other words has what the route has put into ours, and never sees this.
      if (output.native?.dialect !== 'openai-chat') return
      const { choices } = JSON.parse(Buffer.from(output.native.bytes).toString()) as { choices: unknown[] }
      assert.equal(choices.length, 2)
    } catch (error) {
      assert.ok(isTollgateError(error, 'invalid_request'), String(error))
    }
  }),
  onTask('embed', 'embeds each input in its place, the same text the same way', async (model) => {
    const { output, usage } = await model.run(embedInput, call())
    const [first, second, third] = output.vectors
    assert.equal(output.vectors.length, 3)
    assert.ok(first !== undefined && second !== undefined && first.length > 0 && first.length === second.length)
    assert.deepEqual(first, third)
    assert.notDeepEqual(first, second)
    assert.ok(isUsage(usage) && usage.inputTokens > 0 && usage.outputTokens === 0)
  }),
  onTask('predict', 'predicts each row in its place', async (model, { rows = [] }) => {
    const input: PredictInput = deepFrozen({ rows: [...rows, ...rows] })
    const { output, usage } = await model.run(input, call())
    assert.equal(output.predictions.length, input.rows.length)
    assert.deepEqual(output.predictions.slice(0, rows.length), output.predictions.slice(rows.length))
    assert.ok(isUsage(usage))
  }),
]

function on(name: string, run: (provider: Provider, subject: ProviderSubject) => Promise<void>): ProviderCase {
  return {
    name,
    async run(subject) {
      const provider = await subject.make()
      try {
        await provider.ready?.()
        await run(provider, subject)
      } finally {
        await provider.close?.()
      }
    },
  }
}

function onTask<T extends Task>(
  task: T,
  name: string,
  run: (model: Model<T>, subject: ProviderSubject) => Promise<void>,
): ProviderCase {
  return on(`${task}: ${name}`, async (provider, subject) => {
    const id = subject.models[task]
    if (id === undefined) return
    const model = provider.model(task, id)
    assert.ok(model !== undefined, `there is no ${task} model "${id}"`)
    await run(model, subject)
  })
}

function call(signal: AbortSignal = new AbortController().signal): Call {
  return { signal, requestId: 'conformance' }
}

async function collect(model: Model<'generate'>, input: GenerateInput, made: Call): Promise<Part<'generate'>[]> {
  const parts: Part<'generate'>[] = []
  const stream = model.stream?.(input, made)
  if (stream === undefined) {
    const { output, usage } = await model.run(input, made)
    return [
      { type: 'text', text: output.text },
      { type: 'end', finishReason: output.finishReason, usage },
    ]
  }
  for await (const part of stream) parts.push(part)
  return parts
}

function textOf(parts: readonly Part<'generate'>[]): string {
  return parts.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

async function rejectsWith(code: 'timeout' | 'client_closed', run: () => Promise<unknown>): Promise<void> {
  await assert.rejects(run, (error) => isTollgateError(error, code))
}

function deepFrozen<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const each of Object.values(value)) deepFrozen(each)
    Object.freeze(value)
  }
  return value
}

function isUsage(usage: Usage): boolean {
  const { estimated, ...counts } = usage
  const whole = Object.values(counts).every((count) => Number.isSafeInteger(count) && count >= 0)
  return whole && typeof estimated === 'boolean' && 'inputTokens' in counts && 'outputTokens' in counts
}

function totalTokens({ estimated: _, rows: __, ...tokens }: Usage): number {
  return Object.values(tokens).reduce((sum, count) => sum + count, 0)
}
