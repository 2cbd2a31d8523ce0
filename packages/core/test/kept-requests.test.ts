import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { formField } from '../src/http/form-field.js'
import type { Call, Model } from '../src/inference/model.js'
import type { Provider } from '../src/inference/provider.js'
import type { GenerateInput, MediaInput, Task, Tasks } from '../src/inference/task.js'
import { byteTokenizer } from '../src/providers/count-tokens.js'
import { echoProvider } from '../src/providers/echo.js'
import { openAiCompatible } from '../src/providers/openai-compatible.js'
import { form, formType, gc } from './media-gate.js'
import { mediaUpstream } from './media-upstream.js'
import { openAiUpstream, upstreamKey } from './openai-upstream.js'

const weightBytes = 65_536
const count = 200

/**
 * How many of 200 are still there when all are over and only what is young was collected. Each holds a weight: what a scavenge cannot free
 * (the hidden class of a function made for one request, and all that the function sees) lives until the next full collection.
 */
async function keptOf(once: (weight: () => ArrayBuffer) => Promise<void>): Promise<number> {
  const weight = () => new ArrayBuffer(weightBytes)
  for (let index = 0; index < 20; index += 1) await once(weight)
  await wait(20)
  gc()
  const before = process.memoryUsage().arrayBuffers
  for (let index = 1; index <= count; index += 1) {
    await once(weight)
    if (index % 10 === 0) gc({ type: 'minor' })
  }
  for (let index = 0; index < 4; index += 1) {
    await wait(10)
    gc({ type: 'minor' })
  }
  return (process.memoryUsage().arrayBuffers - before) / weightBytes
}

async function keptByStreams<T extends Task>(provider: Provider, task: T, id: string, input: Tasks[T]['input']) {
  const model: Model<T> | undefined = provider.model(task, id)
  if (model?.stream === undefined) throw new Error('no model that streams')
  const { stream } = model
  return keptOf(async (weight) => {
    const call: Call = { signal: new AbortController().signal, requestId: 'r' }
    for await (const _ of stream({ ...input, weight: weight() }, call)) {
      // Read to its end.
    }
  })
}

const hello: GenerateInput = { messages: [{ role: 'user', content: 'Hello to all of you' }] }

it('no answer of echo keeps its request', async () => {
  expect(await keptByStreams(echoProvider({ tokenizer: byteTokenizer }), 'generate', 'echo', hello)).toBeLessThan(
    count / 4,
  )
})

it('no answer of an upstream keeps its request', async () => {
  const upstream = await openAiUpstream()
  const provider = openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  expect(await keptByStreams(provider, 'generate', 'gpt-test', hello)).toBeLessThan(count / 4)
})

const sound = Buffer.alloc(1_000)
const bodies: ReadonlyArray<readonly [string, MediaInput]> = [
  ['words', { path: '/audio/speech', body: { json: { input: 'Hello', voice: 'alloy' } } }],
  [
    'a form',
    {
      path: '/audio/transcriptions',
      body: {
        form: {
          contentType: formType['content-type'],
          send: () => {
            const bytes = form([
              ['model', 'whisper-1'],
              ['file', sound],
            ])
            return { bytes: new Blob([bytes]).stream(), length: bytes.length }
          },
        },
      } as never,
    },
  ],
]

it.each(bodies)('no answer of pictures or sound keeps its request: %s', async (_what, input) => {
  const upstream = await mediaUpstream()
  const provider = openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: 'sk-upstream-0123456789' })
  onTestFinished(() => provider.close?.())
  expect(await keptByStreams(provider, 'media', 'tts-1', input)).toBeLessThan(count / 4)
})

it('no form that was sent on keeps what was put into it', async () => {
  const bytes = form([
    ['file', sound],
    ['model', 'x'],
  ])
  const headers = { ...formType, 'content-length': String(bytes.length) }
  const limits = { maxHeldBytes: 65_536, spoolFolder: undefined, maxBytes: 1_000_000, timeoutMs: 10_000 }
  const name = 'x'.repeat(weightBytes)
  const kept = await keptOf(async () => {
    // Node's own streams stay for a while: of the request itself nothing is to be learnt.
    const req = Object.assign(Readable.from([bytes], { objectMode: false }), { headers })
    const field = await formField(req as never, { name: 'model', header: 'x-model', ...limits })
    for await (const _ of field.send(name).bytes) {
      // Read to its end.
    }
    await field.close()
  })
  expect(kept).toBeLessThan(count / 4)
})
