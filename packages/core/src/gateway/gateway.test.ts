import { describe, expect, it, onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../test/anthropic-upstream.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput } from '../inference/task.js'
import { priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import { defineGateway, type GatewayConfig, gatewayJsonSchema } from './config.js'
import { type GatewayServiceOptions, gatewayService } from './gateway-service.js'
import { reloadableService } from './reloadable-service.js'

const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

function recorded(principal?: Principal) {
  const dispatched: string[] = []
  const call: Call = {
    signal: new AbortController().signal,
    requestId: 'r',
    dispatching: ({ provider, model }) => void dispatched.push(`${provider}/${model}`),
    ...(principal === undefined ? {} : { principal }),
  }
  return { call, dispatched }
}

async function start(
  scripts: Record<string, UpstreamScript>,
  more: Omit<GatewayConfig, 'providers'> & { readonly providers?: object } = {},
  options: GatewayServiceOptions = {},
) {
  const [openAi, anthropic] = [await openAiUpstream(scripts), await anthropicUpstream(scripts)]
  const quick = { retry: { baseMs: 0, maxAttempts: 2 } }
  const config: GatewayConfig = {
    ...more,
    providers: {
      gpt: { type: 'openai', baseUrl: openAi.baseUrl, apiKey: { env: 'GPT_KEY' }, models: ['gpt-*'], ...quick },
      claude: { type: 'anthropic', baseUrl: anthropic.baseUrl, models: { sonnet: 'claude-test' }, ...quick },
      ...more.providers,
    },
  }
  const env = { GPT_KEY: upstreamKey, ANTHROPIC_API_KEY: anthropicKey, OTHER: 'sk-other-key-000000000' }
  const service = gatewayService(config, { env, ...options })
  onTestFinished(async () => {
    await service.close()
    await Promise.all([openAi.close(), anthropic.close()])
  })
  const ask = async (model: string, principal?: Principal) => {
    const { call, dispatched } = recorded(principal)
    const text = await service.run('generate', model, hello, call).then(
      ({ output }) => output.text,
      (error: { code: string }) => error.code,
    )
    return [text === defaultText ? 'ok' : text, ...dispatched]
  }
  return { openAi, anthropic, service, ask, config, env }
}

describe('gatewayService', () => {
  it('has a name of its own for every task that its model does', async () => {
    const { service } = await start(
      {},
      { models: { draw: 'gpt/gpt-image-1', art: { targets: ['draw'], task: 'media' } } },
    )
    for (const task of ['generate', 'embed', 'media'] as const) {
      expect((await service.resolve(task, 'draw')).id).toBe('gpt-image-1')
    }
    expect((await service.resolve('media', 'art')).dispatches).toBe(true)
    const told = { code: 'invalid_request', message: 'The model "sonnet" does not do media; it does: generate.' }
    await expect(service.resolve('media', 'sonnet')).rejects.toMatchObject(told)
  })

  it("finds models by their provider's names, and by names of their own", async () => {
    const { ask, service } = await start({}, { models: { fast: 'gpt/gpt-4o-mini', faster: 'fast' } })
    expect(await ask('gpt-4o')).toEqual(['ok', 'gpt/gpt-4o'])
    expect(await ask('claude/claude-test')).toEqual(['ok', 'claude/claude-test'])
    expect(await ask('sonnet')).toEqual(['ok', 'claude/claude-test'])
    expect(await ask('faster')).toEqual(['ok', 'gpt/gpt-4o-mini'])
    expect(await ask('nope')).toEqual(['model_not_found'])
    const ids = (await service.list()).map(({ id }) => id)
    expect(ids).toEqual(expect.arrayContaining(['fast', 'faster', 'sonnet']))
  })

  it('turns to the next target, each tried again first', async () => {
    const sick: UpstreamScript = { answer: { status: 500, body: {} } }
    const { ask, anthropic } = await start(
      { 'claude-test': sick },
      {
        models: {
          smart: { targets: ['sonnet-route', { model: 'gpt/gpt-4o' }] },
          'sonnet-route': { targets: ['claude/claude-test'] },
        },
      },
    )
    expect(await ask('smart')).toEqual(['ok', 'claude/claude-test', 'claude/claude-test', 'gpt/gpt-4o'])
    expect(anthropic.calls).toHaveLength(2)
  })

  it('passes over a key that is refused, and comes back to it later', async () => {
    const { openAi, env } = await start({})
    const service = gatewayService(
      {
        providers: {
          gpt: {
            type: 'openai',
            baseUrl: openAi.baseUrl,
            apiKey: [{ env: 'OTHER' }, { env: 'GPT_KEY' }],
            models: ['gpt-*'],
          },
        },
      },
      { env },
    )
    for (let count = 0; count < 40; count += 1) {
      const { output } = await service.run('generate', 'gpt-4o', hello, recorded().call)
      expect(output.text).toBe(defaultText)
    }
    const refused = openAi.calls.filter(({ headers }) => headers.authorization !== `Bearer ${upstreamKey}`)
    // By lot it is asked sooner or later; the breaker leaves it alone after its first call.
    expect(refused).toHaveLength(1)
    await service.close()
  })

  it('is for tiers and tenants, and what TypeScript says', async () => {
    const who = (tier: string, tenant = 'acme'): Principal => ({
      tenant,
      subject: 's',
      method: 'jwt',
      scopes: [],
      tier,
    })
    const { ask } = await start(
      {},
      {
        models: {
          plan: {
            targets: [
              { model: 'claude/claude-test', tiers: ['pro'] },
              { model: 'gpt/gpt-4o', tenants: ['globex'] },
              { model: 'gpt/gpt-odd', when: (_input, { principal }) => principal?.tier === 'odd' },
              'gpt/gpt-4o-mini',
            ],
          },
        },
      },
    )
    expect(await ask('plan', who('pro'))).toEqual(['ok', 'claude/claude-test'])
    expect(await ask('plan', who('free', 'globex'))).toEqual(['ok', 'gpt/gpt-4o'])
    expect(await ask('plan', who('odd'))).toEqual(['ok', 'gpt/gpt-odd'])
    expect(await ask('plan')).toEqual(['ok', 'gpt/gpt-4o-mini'])
  })

  it('asks the cheapest, by the prices that it is given', async () => {
    const prices = priceTable({
      list: false,
      overrides: {
        'claude/*': { usdPerMillionTokens: { input: '3', output: '15' } },
        'gpt/*': { usdPerMillionTokens: { input: '1', output: '2' } },
      },
    })
    const models = { cheap: { targets: ['claude/claude-test', 'gpt/gpt-4o'], strategy: 'cheapest' as const } }
    const { ask } = await start({}, { models }, { prices })
    expect(await ask('cheap')).toEqual(['ok', 'gpt/gpt-4o'])
  })

  it('changes bodies where it is told to', async () => {
    const patchBody = [
      { pointer: '/service_tier', value: 'flex' },
      { pointer: '/user' },
      { pointer: '/metadata/team', value: 'x' },
    ]
    const { openAi, env } = await start({})
    const patched = gatewayService(
      { providers: { patched: { type: 'openai', baseUrl: openAi.baseUrl, apiKey: { env: 'GPT_KEY' }, patchBody } } },
      { env },
    )
    await patched.run('generate', 'patched/m', { ...hello, user: 'u' }, recorded().call)
    expect(openAi.calls.at(-1)?.body).toMatchObject({ service_tier: 'flex', metadata: { team: 'x' } })
    expect(openAi.calls.at(-1)?.body).not.toHaveProperty('user')
    await patched.close()
  })

  const gpt = { type: 'openai' as const }
  it.each<[string, object, RegExp]>([
    [
      'a secret that is not set',
      { providers: { a: { type: 'openai', apiKey: { env: 'NONE' } } } },
      /providers\.a\.apiKey: .*NONE is not set/,
    ],
    ['an upstream without address', { providers: { a: { type: 'azure' } } }, /needs its baseUrl/],
    ['a target of no provider', { providers: { gpt }, models: { m: { targets: ['x/y'] } } }, /models\.m: 'x\/y' is no/],
    ['an alias of nothing', { providers: { gpt }, models: { m: 'nothing' } }, /models\.m: 'nothing' is no/],
    ['a circle', { providers: { gpt }, models: { a: 'b', b: { targets: ['c'] }, c: 'a' } }, /circle: a → b → c → a/],
    ['itself', { providers: { gpt }, models: { a: { targets: ['a'] } } }, /circle: a → a/],
    ['no prices', { providers: { gpt }, models: { a: { targets: ['gpt/x'], strategy: 'cheapest' } } }, /needs prices/],
    ['an unknown type', { providers: { a: { type: 'oracle' } } }, /providers\.a\.type/],
    ['an unknown field', { providers: { gpt: { ...gpt, key: 'x' } } }, /key/],
    [
      'a weight below 0',
      { providers: { gpt }, models: { a: { targets: [{ model: 'gpt/x', weight: -1 }] } } },
      /models\.a/,
    ],
    ['a pointer that is none', { providers: { gpt: { ...gpt, patchBody: [{ pointer: 'a' }] } } }, /JSON Pointer/],
    [
      'a pointer beyond the body',
      { providers: { gpt: { ...gpt, patchBody: [{ pointer: '/__proto__/x', value: 1 }] } } },
      /no pointer/,
    ],
  ])('refuses %s, and says where', (_name, config, message) => {
    expect(() => gatewayService(config as GatewayConfig, { env: {} })).toThrow(message)
  })

  it('never repeats a secret that stands in the wrong place', () => {
    const config = { providers: { a: { type: 'openai', apiKey: { key: 'sk-secret-0000' } } } }
    expect(() => defineGateway(config as never)).toThrow(expect.not.stringContaining('sk-secret'))
  })
})

describe('gatewayJsonSchema', () => {
  it('describes what is written, functions left out', () => {
    const schema = JSON.parse(JSON.stringify(gatewayJsonSchema())) as Record<string, unknown>
    expect(schema).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      required: ['providers'],
      additionalProperties: false,
    })
  })
})

describe('reloadableService', () => {
  it('drops no request: those under way end with the old one', async () => {
    const { service: first, openAi, config, env } = await start({ 'gpt-slow': { pauseMs: 15 } })
    const service = reloadableService(first)
    const parts: string[] = []
    const streaming = (async () => {
      for await (const part of service.stream('generate', 'gpt-slow', hello, recorded().call)) {
        if (part.type === 'text') parts.push(part.text)
      }
    })()
    await expect.poll(() => parts.length).toBeGreaterThan(0)
    const next = gatewayService({ ...config, models: { fresh: 'gpt/gpt-4o' } }, { env })
    let closed = false
    const replaced = service.replace(next).then(() => {
      closed = true
    })
    expect((await service.run('generate', 'fresh', hello, recorded().call)).output.text).toBe(defaultText)
    expect(closed).toBe(false)
    await streaming
    expect(parts.join('')).toBe(defaultText)
    await replaced
    await expect(first.run('generate', 'gpt-4o', hello, recorded().call)).rejects.toMatchObject({ code: 'not_ready' })
    expect(openAi.calls).toHaveLength(2)
    await service.close()
  })

  it('cuts what does not end in time, and lets go of streams that are left', async () => {
    const { service: first, config, env } = await start({ 'gpt-stuck': { stallAfter: 3 } })
    const service = reloadableService(first, 50)
    const left = service.stream('generate', 'gpt-4o', hello, recorded().call)
    for await (const _ of left) break
    const stuck = (async () => {
      for await (const _ of service.stream('generate', 'gpt-stuck', hello, recorded().call));
    })()
    stuck.catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 30))
    await service.replace(gatewayService(config, { env }))
    await expect(stuck).rejects.toThrow()
    await service.close()
  })
})
