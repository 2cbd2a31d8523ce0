import { describe, expect, it, onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../test/anthropic-upstream.js'
import { call, hello } from '../../test/bedrock-model.js'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import type { GatewayConfig } from '../gateway/config.js'
import { gatewayService } from '../gateway/gateway-service.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import type { UpstreamLimits } from '../providers/upstream-limits.js'
import { prometheusRegistry } from './prometheus-registry.js'
import { upstreamLimitMetrics } from './upstream-limit-metrics.js'

/** An answer of either API, with these fields in its head. */
const answered = (headers: Record<string, string>, status = 200) => ({
  answer: {
    status,
    headers,
    body: { choices: [{ message: { content: 'hi' } }], content: [{ type: 'text', text: 'hi' }] },
  },
})

async function start(
  { headers = {}, status = 200 }: { headers?: Record<string, string>; status?: number },
  onUpstreamLimits?: (limits: UpstreamLimits) => void,
) {
  const registry = prometheusRegistry()
  const script = { m: answered(headers, status) }
  const [openAi, anthropic] = [await openAiUpstream(script), await anthropicUpstream(script)]
  const common = { retry: false, breaker: false } as const
  const providers: GatewayConfig['providers'] = {
    one: { type: 'openai-compatible', baseUrl: openAi.baseUrl, apiKey: upstreamKey, ...common },
    two: { type: 'openai-compatible', baseUrl: openAi.baseUrl, apiKey: [upstreamKey, upstreamKey], ...common },
    claude: { type: 'anthropic', baseUrl: anthropic.baseUrl, apiKey: anthropicKey, ...common },
  }
  const service = gatewayService(
    { providers },
    { tokenizer: byteTokenizer, onUpstreamLimits: onUpstreamLimits ?? upstreamLimitMetrics({ registry }) },
  )
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close()])
  })
  const gauges = async () =>
    (await registry.expose('prometheus')).split('\n').filter((line) => line.startsWith('tollgate_upstream_limit'))
  return { service, gauges, ask: (model: string) => service.run('generate', model, hello, call) }
}

const openAiFields = {
  'x-ratelimit-limit-requests': '500',
  'x-ratelimit-remaining-requests': '499',
  'x-ratelimit-reset-requests': '120ms',
  'x-ratelimit-limit-tokens': '30000',
  'x-ratelimit-remaining-tokens': '29000',
}

describe('limits of upstreams', () => {
  it('are shown as OpenAI tells them, as of the last answer', async () => {
    const { ask, gauges } = await start({ headers: openAiFields })
    await ask('one/m')
    await ask('one/m')
    expect(await gauges()).toEqual([
      'tollgate_upstream_limit_remaining{provider="one",model="m",key="",kind="requests"} 499',
      'tollgate_upstream_limit_remaining{provider="one",model="m",key="",kind="tokens"} 29000',
      'tollgate_upstream_limit{provider="one",model="m",key="",kind="requests"} 500',
      'tollgate_upstream_limit{provider="one",model="m",key="",kind="tokens"} 30000',
    ])
  })

  it('are shown as Anthropic tells them', async () => {
    const headers = {
      'anthropic-ratelimit-requests-remaining': '49',
      'anthropic-ratelimit-input-tokens-remaining': '40000',
      'anthropic-ratelimit-input-tokens-limit': '50000',
      'anthropic-ratelimit-output-tokens-remaining': '8000',
      'anthropic-ratelimit-requests-reset': '2026-01-01T00:00:00Z',
    }
    const { ask, gauges } = await start({ headers })
    await ask('claude/m')
    expect(await gauges()).toEqual([
      'tollgate_upstream_limit_remaining{provider="claude",model="m",key="",kind="requests"} 49',
      'tollgate_upstream_limit_remaining{provider="claude",model="m",key="",kind="input_tokens"} 40000',
      'tollgate_upstream_limit_remaining{provider="claude",model="m",key="",kind="output_tokens"} 8000',
      'tollgate_upstream_limit{provider="claude",model="m",key="",kind="input_tokens"} 50000',
    ])
  })

  it('are those of each key by its place, and no key is told', async () => {
    const { ask, gauges } = await start({ headers: { 'x-ratelimit-remaining-requests': '3' } })
    await Promise.all([ask('two/m'), ask('two/m')])
    const lines = (await gauges()).toSorted()
    expect(lines).toEqual([
      'tollgate_upstream_limit_remaining{provider="two",model="m",key="1",kind="requests"} 3',
      'tollgate_upstream_limit_remaining{provider="two",model="m",key="2",kind="requests"} 3',
    ])
    expect(lines.join()).not.toContain(upstreamKey)
  })

  it('are shown of a stream when it begins, and when there is nothing left', async () => {
    const throttled = await start({ headers: { 'x-ratelimit-remaining-tokens': '0', 'retry-after': '1' }, status: 429 })
    await expect(throttled.ask('one/m')).rejects.toMatchObject({ code: 'rate_limited' })
    expect(await throttled.gauges()).toEqual([
      'tollgate_upstream_limit_remaining{provider="one",model="m",key="",kind="tokens"} 0',
    ])
    const { service, gauges } = await start({})
    for await (const _ of service.stream('generate', 'one/streamed', hello, call));
    expect(await gauges()).toEqual([
      'tollgate_upstream_limit_remaining{provider="one",model="streamed",key="",kind="requests"} 7',
    ])
  })

  it('that are no counts, or of a model that is not there, are not', async () => {
    for (const value of ['-1', 'many', '1e3', '1.5', '', '9'.repeat(16)]) {
      const { ask, gauges } = await start({ headers: { 'x-ratelimit-remaining-requests': value } })
      await ask('one/m')
      expect(await gauges()).toEqual([])
    }
    const { ask, gauges } = await start({ headers: openAiFields, status: 404 })
    await expect(ask('one/m')).rejects.toMatchObject({ code: 'invalid_request' })
    expect(await gauges()).toEqual([])
  })

  it('have no more labels than there is room for', async () => {
    const registry = prometheusRegistry()
    const report = upstreamLimitMetrics({ registry, maxModels: 1, prefix: 'gate_' })
    for (const model of ['a', 'b', 'c']) report({ provider: 'p', model, limits: [{ kind: 'requests', remaining: 1 }] })
    const text = await registry.expose('prometheus')
    expect(text.match(/^gate_upstream_limit_remaining\{.*/gm)).toEqual([
      'gate_upstream_limit_remaining{provider="p",model="a",key="",kind="requests"} 1',
      'gate_upstream_limit_remaining{provider="p",model="_other",key="",kind="requests"} 1',
    ])
  })

  it('cost nobody an answer where whoever is told of them throws', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    const { ask } = await start({ headers: openAiFields }, () => {
      throw new Error('the gauge is broken')
    })
    expect(await ask('one/m')).toMatchObject({ output: { text: 'hi' } })
    expect((await warned).message).toBe('the gauge is broken')
  })
})
