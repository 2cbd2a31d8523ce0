import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../test/anthropic-upstream.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import { type Host, hosts } from '../../test/hosts.js'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import { contextOf } from '../http/context.js'
import { dialect } from '../http/dialect.js'
import type { Handler } from '../http/handler.js'
import { inferenceService } from '../inference/service.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { ledger } from '../middleware/ledger.js'
import { limits } from '../middleware/limits.js'
import { priceTable } from '../price-table.js'
import { anthropicProvider } from '../providers/anthropic.js'
import { namedModels } from '../providers/named-models.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import { ledgerWriter } from '../stores/ledger-writer.js'
import { memoryLedger } from '../stores/memory-ledger.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { withRetry } from '../wrappers/retry.js'
import { routed } from '../wrappers/routed.js'
import { withTimeouts } from '../wrappers/timeouts.js'
import { chatCompletions } from './chat-completions.js'

const overrides = {
  'anthropic/claude-test': { usdPerMillionTokens: { input: '3', output: '15' } },
  'openai/gpt-test': { usdPerMillionTokens: { input: '1', output: '2' } },
}
const ask = { model: 'smart', messages: [{ role: 'user' as const, content: 'Hello' }], max_tokens: 100 }

const as: Handler = (req, res, next) => {
  contextOf(req, res).principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
  next()
}

/** `smart` is claude-test, tried twice, then gpt-test; with a budget, prices and a ledger. */
async function start(scripts: Record<string, UpstreamScript>, budget = '1000') {
  const [openAi, anthropic] = [await openAiUpstream(scripts), await anthropicUpstream(scripts)]
  const claude = anthropicProvider({ apiKey: anthropicKey, baseUrl: anthropic.baseUrl })
  const gpt = openAiCompatible({ name: 'openai', baseUrl: openAi.baseUrl, apiKey: upstreamKey })
  const [first, second] = [claude.model('generate', 'claude-test'), gpt.model('generate', 'gpt-test')]
  if (first === undefined || second === undefined) throw new Error('no models')
  const smart = routed({
    targets: [
      { model: withRetry(withTimeouts(first, { firstOutputMs: 500 }), { maxAttempts: 2, baseMs: 0 }) },
      { model: second },
    ],
  })
  const service = inferenceService({ providers: [namedModels({ models: { smart } }), claude, gpt] })
  const [prices, store, rows] = [priceTable({ list: false, overrides }), memoryLimitStore(), memoryLedger()]
  const writer = ledgerWriter({ ledger: rows })
  const { url } = await (hosts[0] as Host).start(
    dialect('openai'),
    as,
    limits({
      store,
      prices,
      rules: [{ name: 'month', measure: 'money', per: 'tenant', calendar: 'month', limit: budget }],
    }),
    ledger({ writer }),
    cost({ prices }),
    ['/v1/chat/completions', chatCompletions({ service })],
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close(), writer.close(1_000)])
  })
  const client = new OpenAI({ apiKey: 'any', baseURL: `${url}/v1`, maxRetries: 0 })
  const row = async () => {
    await expect
      .poll(async () => (await rows.rows({ from: 0, to: Date.now() + 1e6, limit: 10 })).items.length)
      .toBeGreaterThan(0)
    return (await rows.rows({ from: 0, to: Date.now() + 1e6, limit: 10 })).items
  }
  return { url, client, openAi, anthropic, row }
}

const sick: UpstreamScript = { answer: { status: 500, body: { error: { message: 'no' } } } }

describe('a model that stands for two', () => {
  it('answers by the second in the words of the caller, and bills that', async () => {
    const { client, anthropic, row } = await start({ 'claude-test': sick })
    const { data, response } = await client.chat.completions
      .create(ask, { headers: { 'x-tollgate-decision': '1' } })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe(defaultText)
    expect(anthropic.calls).toHaveLength(2)
    expect(response.headers.get('x-tollgate-decision')).toBe(
      '"anthropic/claude-test";outcome=upstream_failed, "anthropic/claude-test";outcome=upstream_failed, "openai/gpt-test";outcome=ok',
    )
    const used = data.usage as OpenAI.CompletionUsage
    expect(await row()).toMatchObject([
      {
        modelAsked: 'smart',
        model: 'gpt-test',
        provider: 'openai',
        outcome: 'ok',
        costNanoUsd: used.prompt_tokens * 1_000 + used.completion_tokens * 2_000,
      },
    ])
  })

  it('turns within a stream as long as nothing was said, unseen, and pays for what the first has used', async () => {
    // Begins, pings, opens a block, and fails before a word.
    const begun: UpstreamScript = { errorAfter: { events: 3, error: { type: 'overloaded_error', message: 'no' } } }
    const { client, anthropic, row } = await start({ 'claude-test': begun })
    let text = ''
    let usage: OpenAI.CompletionUsage | null | undefined
    const stream = await client.chat.completions.create({
      ...ask,
      stream: true,
      stream_options: { include_usage: true },
    })
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(defaultText)
    expect(anthropic.calls).toHaveLength(2)
    const [only] = await row()
    const own = (usage?.prompt_tokens ?? 0) * 1_000 + (usage?.completion_tokens ?? 0) * 2_000
    // Two attempts that had begun, by their prompts, at the first one's price.
    const { inputTokens = 0 } = only?.usage ?? {}
    const attempts = (inputTokens - (usage?.prompt_tokens ?? 0)) * 3_000
    expect(attempts).toBeGreaterThan(0)
    expect(only).toMatchObject({ outcome: 'ok', model: 'gpt-test', costNanoUsd: own + attempts })
  })

  it('tells an error after the first word as one, and turns to nobody', async () => {
    const broken: UpstreamScript = { errorAfter: { events: 6, error: { type: 'overloaded_error', message: 'no' } } }
    const { client, openAi, row } = await start({ 'claude-test': broken })
    const stream = await client.chat.completions.create({ ...ask, stream: true })
    let text = ''
    await expect(
      (async () => {
        for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
      })(),
    ).rejects.toBeInstanceOf(OpenAI.APIError)
    expect(text).not.toBe('')
    expect(openAi.calls).toHaveLength(0)
    expect(await row()).toMatchObject([{ outcome: 'error', model: 'claude-test', usage: { estimated: true } }])
  })

  it('turns away from one that stalls, and closes its socket', async () => {
    const { client, anthropic } = await start({ 'claude-test': { stallAfter: 2 } })
    const called = anthropic.next()
    const stream = await client.chat.completions.create({ ...ask, stream: true })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe(defaultText)
    expect(await (await called).broken).toBe(true)
  })

  it('turns to the one that the budget has room for', async () => {
    // 100 tokens out are 1,500,000 nano-USD there, 200,000 here.
    const { client, anthropic, row } = await start({}, '0.001')
    const completion = await client.chat.completions.create(ask)
    expect(completion.choices[0]?.message.content).toBe(defaultText)
    expect(anthropic.calls).toHaveLength(0)
    const [only] = await row()
    expect(only).toMatchObject({ model: 'gpt-test', outcome: 'ok' })
    expect(only?.costNanoUsd).toBeGreaterThan(0)
  })

  it('passes the last error on, with one row', async () => {
    const throttled: UpstreamScript = { answer: { status: 429, headers: { 'retry-after': '30' }, body: {} } }
    const { client, row } = await start({ 'claude-test': sick, 'gpt-test': throttled })
    await expect(client.chat.completions.create(ask)).rejects.toMatchObject({ status: 429 })
    expect(await row()).toHaveLength(1)
  })
})

describe('x-tollgate-decision', () => {
  it('is told of failures too', async () => {
    const down: UpstreamScript = { answer: { status: 500, body: {} } }
    const { client } = await start({ 'claude-test': down, 'gpt-test': down })
    for (const stream of [false, true]) {
      const error = await client.chat.completions
        .create({ ...ask, stream }, { headers: { 'x-tollgate-decision': '1' } })
        .then(
          () => undefined,
          (thrown: unknown) => thrown,
        )
      expect(error).toBeInstanceOf(OpenAI.APIError)
      expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get('x-tollgate-decision')).toMatch(
        /anthropic\/claude-test.*anthropic\/claude-test.*openai\/gpt-test.*upstream_failed/,
      )
    }
  })
})
