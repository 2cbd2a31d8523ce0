import fc from 'fast-check'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../test/anthropic-upstream.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import { type Host, hosts } from '../../test/hosts.js'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import { contextOf } from '../http/context.js'
import { dialect } from '../http/dialect.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { abortError } from '../inference/call.js'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import { inferenceService } from '../inference/service.js'
import type { Part, Result } from '../inference/task.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { ledger } from '../middleware/ledger.js'
import { type LimitRule, limits } from '../middleware/limits.js'
import { priceTable } from '../price-table.js'
import { anthropicProvider } from '../providers/anthropic.js'
import { namedModels } from '../providers/named-models.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import { ledgerWriter } from '../stores/ledger-writer.js'
import type { Claim, LimitStore } from '../stores/limit-store.js'
import { memoryLedger } from '../stores/memory-ledger.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { noUsage, type Usage } from '../usage.js'
import { type HedgeOptions, hedged } from '../wrappers/hedged.js'
import { type ShadowResult, shadowed } from '../wrappers/shadowed.js'
import { chatCompletions } from './chat-completions.js'
import { invoke, invokeStream } from './invoke.js'

const overrides = {
  'anthropic/claude-test': { usdPerMillionTokens: { input: '3', output: '15' } },
  'openai/gpt-test': { usdPerMillionTokens: { input: '1', output: '2' } },
  'fake/model-a': { usdPerMillionTokens: { input: '1', output: '0' } },
  'fake/model-b': { usdPerMillionTokens: { input: '100', output: '0' } },
  'fake/model-c': { usdPerMillionTokens: { input: '10000', output: '0' } },
}
const ask = { model: 'quick', messages: [{ role: 'user' as const, content: 'Hello' }], max_tokens: 100 }

const as: Handler = (req, res, next) => {
  contextOf(req, res).principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
  next()
}

const rules: LimitRule[] = [
  { name: 'month', measure: 'money', per: 'tenant', calendar: 'month', limit: '1000' },
  { name: 'tokens', measure: 'tokens', per: 'tenant', calendar: 'month', limit: 1_000_000 },
  { name: 'model-tokens', measure: 'tokens', per: 'model', calendar: 'month', limit: 1_000_000 },
  { name: 'model-places', measure: 'concurrency', per: 'model', limit: 1_000 },
]

/** A store that knows every claim it was asked for. */
function watchedStore() {
  const store = memoryLimitStore()
  const claims = new Map<string, Claim>()
  const watched: LimitStore = {
    ...store,
    take(asked) {
      for (const claim of asked) claims.set(claim.key, claim)
      return store.take(asked)
    },
  }
  /** What each rule holds and has used, by its key. */
  const counts = () =>
    [...claims.values()].map((claim) => {
      const [state] = store.peek([claim.kind === 'lease' ? claim : { ...claim, cost: 0 }])
      return { rule: claim.rule, key: claim.key, used: state?.used ?? 0, held: state?.held ?? 0 }
    })
  return { store: watched, counts }
}

/** Everything in front of a model that is paid for, and what came of it. */
async function gate(handler: Handler) {
  const prices = priceTable({ list: false, overrides })
  const { store, counts } = watchedStore()
  const rows = memoryLedger()
  const writer = ledgerWriter({ ledger: rows })
  const { url } = await (hosts[0] as Host).start(
    dialect('openai'),
    as,
    limits({ store, prices, rules }),
    ledger({ writer }),
    cost({ prices }),
    ['/v1/chat/completions', handler],
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  onTestFinished(() => writer.close(1_000))
  const all = async (count: number) => {
    const read = async () => (await rows.rows({ from: 0, to: Date.now() + 1e6, limit: 1_000 })).items
    await expect.poll(async () => (await read()).length, { interval: 5 }).toBe(count)
    return read()
  }
  return { url, counts, rows: all }
}

/** `quick` is claude-test, with gpt-test beside it. */
async function start(scripts: Record<string, UpstreamScript>, options: Partial<HedgeOptions<'generate'>> = {}) {
  const [openAi, anthropic] = [await openAiUpstream(scripts), await anthropicUpstream(scripts)]
  const claude = anthropicProvider({ apiKey: anthropicKey, baseUrl: anthropic.baseUrl })
  const gpt = openAiCompatible({ name: 'openai', baseUrl: openAi.baseUrl, apiKey: upstreamKey })
  const [first, target] = [claude.model('generate', 'claude-test'), gpt.model('generate', 'gpt-test')]
  if (first === undefined || target === undefined) throw new Error('no models')
  const quick = hedged(first, { afterMs: 50, target, ...options })
  const service = inferenceService({ providers: [namedModels({ models: { quick } }), claude, gpt] })
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close()])
  })
  const made = await gate(chatCompletions({ service }))
  const client = new OpenAI({ apiKey: 'any', baseURL: `${made.url}/v1`, maxRetries: 0 })
  return { ...made, client, openAi, anthropic }
}

type Counts = Awaited<ReturnType<typeof gate>>['counts']
const usedOf = (counts: Counts, rule: string, ofModel = '') =>
  counts().find((each) => each.rule === rule && each.key.includes(ofModel))?.used

describe.each([false, true])('a model that is hedged, stream: %s', (stream) => {
  const answerOf = async (client: OpenAI) => {
    const options = { headers: { 'x-tollgate-decision': '1' } }
    if (!stream) {
      const { data, response } = await client.chat.completions.create(ask, options).withResponse()
      return { text: data.choices[0]?.message.content, usage: data.usage, decision: decisionOf(response) }
    }
    const { data, response } = await client.chat.completions
      .create({ ...ask, stream: true, stream_options: { include_usage: true } }, options)
      .withResponse()
    let [text, usage] = ['', undefined as OpenAI.CompletionUsage | undefined]
    for await (const chunk of data) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    return { text, usage, decision: decisionOf(response) }
  }
  const decisionOf = ({ headers }: Response) => headers.get('x-tollgate-decision')

  it('answers by the second, closes the socket of the first, and bills both in one row', async () => {
    const { client, anthropic, counts, rows } = await start({ 'claude-test': { stallAfter: -1 } })
    const called = anthropic.next()
    const { text, usage, decision } = await answerOf(client)
    expect(text).toBe(defaultText)
    expect(await (await called).broken).toBe(true)
    expect(decision).toBe('"anthropic/claude-test";outcome=outrun, "openai/gpt-test";outcome=ok;hedge')
    const [only] = await rows(1)
    const own = { input: usage?.prompt_tokens ?? 0, output: usage?.completion_tokens ?? 0 }
    const lost = (only?.usage?.inputTokens ?? 0) - own.input
    expect(lost).toBeGreaterThan(0)
    const costNanoUsd = own.input * 1_000 + own.output * 2_000 + lost * 3_000
    expect(only).toMatchObject({ model: 'gpt-test', outcome: 'ok', costNanoUsd, usage: { estimated: true } })
    expect(counts().every(({ held }) => held === 0)).toBe(true)
    expect(usedOf(counts, 'month')).toBe(costNanoUsd)
    expect(usedOf(counts, 'tokens')).toBe(own.input + own.output + lost)
    expect(usedOf(counts, 'model-tokens', 'claude-test')).toBe(lost)
    expect(usedOf(counts, 'model-tokens', 'gpt-test')).toBe(own.input + own.output)
  })

  it('answers by the first where the second is slower, and closes that', async () => {
    const { client, openAi, counts, rows } = await start({
      'claude-test': { delayMs: 300 },
      'gpt-test': { stallAfter: -1 },
    })
    const called = openAi.next()
    const { text, decision } = await answerOf(client)
    expect(text).toBe(defaultText)
    expect(await (await called).broken).toBe(true)
    expect(decision).toBe('"openai/gpt-test";outcome=outrun;hedge, "anthropic/claude-test";outcome=ok')
    const [only] = await rows(1)
    expect(only).toMatchObject({ model: 'claude-test', provider: 'anthropic', outcome: 'ok' })
    expect(usedOf(counts, 'month')).toBe(only?.costNanoUsd)
    const [lost, own] = ['gpt-test', 'claude-test'].map((model) => usedOf(counts, 'model-tokens', model) ?? 0)
    expect(lost).toBeGreaterThan(0)
    expect(usedOf(counts, 'tokens')).toBe((lost ?? 0) + (own ?? 0))
  })

  it('goes on with the first where there is no room for a second', async () => {
    const scripts = { 'claude-test': { delayMs: 200 } }
    const { client, openAi, rows } = await start(scripts, { maxAttempts: 1 })
    expect((await answerOf(client)).text).toBe(defaultText)
    expect(openAi.calls).toHaveLength(0)
    expect(await rows(1)).toMatchObject([{ model: 'claude-test' }])
  })
})

it('gives the place of the one that was outrun back at once, not when the answer has ended', async () => {
  const { client, counts } = await start({ 'claude-test': { stallAfter: -1 }, 'gpt-test': { stallAfter: 3 } })
  const stream = await client.chat.completions.create({ ...ask, stream: true })
  const parts = stream[Symbol.asyncIterator]()
  await parts.next()
  expect(usedOf(counts, 'model-places', 'claude-test')).toBe(0)
  expect(usedOf(counts, 'model-places', 'gpt-test')).toBe(1)
  const state = counts().filter(({ key }) => key.includes('claude-test'))
  expect(state.find(({ rule }) => rule === 'model-tokens')).toMatchObject({ held: 0 })
  stream.controller.abort()
  await expect.poll(() => usedOf(counts, 'model-places', 'gpt-test')).toBe(0)
})

it('bills nobody for a shadow', async () => {
  const openAi = await openAiUpstream()
  const gpt = openAiCompatible({ name: 'openai', baseUrl: openAi.baseUrl, apiKey: upstreamKey })
  const [first, to] = [gpt.model('generate', 'gpt-test'), gpt.model('generate', 'gpt-new')]
  if (first === undefined || to === undefined) throw new Error('no models')
  const results: ShadowResult[] = []
  const quick = shadowed(first, { to, share: 1, onResult: (result) => void results.push(result) })
  const service = inferenceService({ providers: [namedModels({ models: { quick } }), gpt] })
  onTestFinished(async () => {
    await quick.close()
    await service.close()
    await openAi.close()
  })
  const { url, counts, rows } = await gate(chatCompletions({ service }))
  const client = new OpenAI({ apiKey: 'any', baseURL: `${url}/v1`, maxRetries: 0 })
  const { usage } = await client.chat.completions.create(ask)
  for await (const _ of await client.chat.completions.create({ ...ask, stream: true })) {
    // Nothing to see.
  }
  await expect.poll(() => results.length).toBe(2)
  const tokens = { inputTokens: usage?.prompt_tokens ?? 0, outputTokens: usage?.completion_tokens ?? 0 }
  for (const result of results) {
    expect(result).toMatchObject({ outcome: 'ok', target: { model: 'gpt-new' }, usage: tokens })
    expect(result).toMatchObject({ output: { text: defaultText } })
  }
  expect(openAi.calls.map(({ body }) => [body['model'], body['stream'] === true])).toEqual([
    ['gpt-test', false],
    ['gpt-new', false],
    ['gpt-test', true],
    ['gpt-new', false],
  ])
  // No price is known for it, and no row, rule or model knows of it.
  const costNanoUsd = tokens.inputTokens * 1_000 + tokens.outputTokens * 2_000
  expect(await rows(2)).toMatchObject([
    { model: 'gpt-test', costNanoUsd },
    { model: 'gpt-test', costNanoUsd },
  ])
  expect(usedOf(counts, 'month')).toBe(2 * costNanoUsd)
  expect(usedOf(counts, 'model-tokens', 'gpt-new')).toBeUndefined()
})

/** What may happen, in some order: an attempt answers or fails, or the caller leaves. */
type Happening = { readonly what: 'answer' | 'fail'; readonly which: number } | { readonly what: 'leave' }

const names = ['model-a', 'model-b', 'model-c'] as const
const prompt: Usage = { inputTokens: 7, outputTokens: 0, estimated: true }
const whole: Usage = { inputTokens: 11, outputTokens: 5, estimated: false }

/** Models of which a test says when they answer. */
function driven() {
  const waiting = new Map<string, { answer(): void; fail(): void }>()
  const sent = new Set<string>()
  const heeds = { signal: true }
  const modelOf = (id: string): Model<'generate'> => {
    const turn = (signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        sent.add(id)
        waiting.set(id, { answer: resolve, fail: () => reject(new Error(`${id} failed`)) })
        if (heeds.signal) signal.addEventListener('abort', () => reject(abortError(signal)), { once: true })
      }).finally(() => waiting.delete(id))
    return {
      task: 'generate',
      provider: 'fake',
      id,
      inputUsage: () => prompt,
      async run(_input, { signal }): Promise<Result<'generate'>> {
        await turn(signal)
        return { output: { text: id, toolCalls: [], finishReason: 'stop' }, usage: whole }
      },
      stream(_input, { signal }) {
        let usage = noUsage
        async function* parts(): AsyncGenerator<Part<'generate'>> {
          usage = prompt
          await turn(signal)
          yield { type: 'text', text: id }
          usage = whole
          yield { type: 'end', finishReason: 'stop', usage }
        }
        return { usageSoFar: () => usage, [Symbol.asyncIterator]: parts }
      },
    }
  }
  return { models: names.map(modelOf), waiting, sent, heeds }
}

describe('whatever comes first', () => {
  const happenings = fc
    .record({
      order: fc.shuffledSubarray([0, 1, 2, 3], { minLength: 1 }),
      ends: fc.array(fc.constantFrom('answer' as const, 'fail' as const), { minLength: 3, maxLength: 3 }),
      isStream: fc.boolean(),
      /** Do they come at the same moment? */
      atOnce: fc.boolean(),
      /** Do models stop when they are told to? */
      heed: fc.boolean(),
    })
    .map(({ order, ends, ...more }) => ({
      ...more,
      happenings: order.map((which): Happening => {
        const what = ends[which]
        return what === undefined ? { what: 'leave' } : { what, which }
      }),
    }))

  it('one answer goes out, each attempt is paid for once, and nothing stays held', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => void unhandled.push(error)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    const fakes = driven()
    const [a, b, c] = fakes.models as [Model<'generate'>, Model<'generate'>, Model<'generate'>]
    // One of three: the second is itself hedged by the third.
    const quick = hedged(a, {
      afterMs: 0,
      target: hedged(b, { afterMs: 0, target: c, budgetRatio: 1 }),
      budgetRatio: 1,
    })
    const fake: Provider = { name: 'fake', model: () => undefined }
    const service = inferenceService({ providers: [namedModels({ models: { quick } }), fake] })
    const { url, counts, rows } = await gate(
      endpoint('ask', async (context, req, res) => {
        const input = { messages: ask.messages }
        if (req.headers['x-how'] !== 'stream') {
          const { result } = await invoke(context, req, res, service, 'generate', 'quick', input)
          return sendJson(res, 200, result.output)
        }
        return invokeStream(context, req, res, service, 'generate', 'quick', input, async ({ parts }) => {
          let text = ''
          for await (const part of parts) if (part.type === 'text') text += part.text
          sendJson(res, 200, { text })
        })
      }),
    )
    const expected = { nanoUsd: 0, tokens: 0, requests: 0, models: new Map<string, number>() }
    const pay = (which: number, { inputTokens, outputTokens }: Usage) => {
      expected.nanoUsd += inputTokens * 1_000 * 100 ** which
      expected.tokens += inputTokens + outputTokens
      const name = names[which] as string
      expected.models.set(name, (expected.models.get(name) ?? 0) + inputTokens + outputTokens)
    }
    await fc.assert(
      fc.asyncProperty(happenings, async ({ happenings: asked, isStream, atOnce, heed }) => {
        fakes.sent.clear()
        fakes.heeds.signal = heed
        expected.requests += 1
        const leaving = new AbortController()
        const answering = fetch(`${url}/v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-how': isStream ? 'stream' : 'run' },
          body: JSON.stringify(ask),
          signal: leaving.signal,
        }).then(
          async (response) => ({ status: response.status, text: ((await response.json()) as { text?: string }).text }),
          () => ({ status: 0, text: undefined }),
        )
        await expect.poll(() => fakes.sent.size, { interval: 1 }).toBe(3)
        let winner: number | undefined
        let isOver = false
        const failed = new Set<number>()
        for (const each of [...asked, { what: 'leave' as const }]) {
          if (each.what === 'leave') leaving.abort()
          else fakes.waiting.get(names[each.which] as string)?.[each.what]()
          if (!isOver && each.what === 'answer') winner = each.which
          if (!isOver && each.what === 'fail') failed.add(each.which)
          isOver ||= each.what !== 'fail' || failed.size === 3
          if (isOver) break
          if (!atOnce) await new Promise((resolve) => setImmediate(resolve))
        }
        const { status, text } = await answering
        expect({ status, text }).toEqual(
          winner !== undefined
            ? { status: 200, text: names[winner] }
            : { status: failed.size === 3 ? 500 : 0, text: undefined },
        )
        for (const which of [0, 1, 2]) {
          if (which === winner) pay(which, whole)
          else if (isStream || !failed.has(which)) pay(which, prompt)
        }
        expect(await rows(expected.requests)).toHaveLength(expected.requests)
        // What comes too late changes nothing.
        for (const { answer, fail } of [...fakes.waiting.values()]) atOnce ? fail() : answer()
        await expect.poll(() => counts().every(({ held }) => held === 0), { interval: 1 }).toBe(true)
        expect(usedOf(counts, 'month')).toBe(expected.nanoUsd)
        expect(usedOf(counts, 'tokens')).toBe(expected.tokens)
        for (const [name, tokens] of expected.models) expect(usedOf(counts, 'model-tokens', name)).toBe(tokens)
        expect(counts().filter(({ rule, used }) => rule === 'model-places' && used > 0)).toEqual([])
      }),
      { numRuns: 30, endOnFailure: true },
    )
    const total = (await rows(expected.requests)).reduce((sum, { costNanoUsd = 0 }) => sum + costNanoUsd, 0)
    expect(total).toBe(expected.nanoUsd)
    expect(unhandled).toEqual([])
  }, 60_000)
})
