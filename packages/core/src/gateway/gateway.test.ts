import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { bedrockApiKey, bedrockCredentials, bedrockRegion, bedrockUpstream } from '../../test/bedrock-upstream.js'
import { fakeModel } from '../../test/fake-model.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import { hello, recorded, start } from '../../test/gateway.js'
import { upstreamKey } from '../../test/openai-upstream.js'
import { priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import { namedModels } from '../providers/named-models.js'
import type { ShadowResult } from '../wrappers/shadowed.js'
import { defineGateway, type GatewayConfig, gatewayJsonSchema } from './config.js'
import { gatewayService } from './gateway-service.js'

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

  it('has an alias for every task that its model does', async () => {
    const { service, openAi } = await start(
      {},
      { models: { vectors: 'embedder', embedder: 'gpt/text-embedding-3-small' } },
    )
    const { output } = await service.run('embed', 'vectors', { inputs: ['hello'] }, recorded().call)
    expect(output.vectors).toHaveLength(1)
    expect(openAi.calls).toHaveLength(1)
  })

  it('leaves the providers open that were lent to it', async () => {
    const closed: string[] = []
    const lent = { name: 'local', model: () => undefined, close: async () => void closed.push('local') }
    const service = gatewayService({ providers: { echo: { type: 'echo' } } }, { providers: [lent], env: {} })
    await service.close()
    expect(closed).toEqual([])
  })

  it('takes a provider under two lists of names', async () => {
    const local = namedModels({ name: 'local', models: { m: fakeModel('m').model } })
    const service = gatewayService(
      { providers: { echo: { type: 'echo' } } },
      {
        providers: [
          { provider: local, models: { one: 'm' } },
          { provider: local, models: { two: 'm' } },
        ],
        env: {},
      },
    )
    for (const name of ['one', 'two']) expect(await service.resolve('generate', name)).toMatchObject({ id: 'm' })
    await service.close()
  })

  it.each<[string, object, RegExp]>([
    [
      'a field of another type',
      { type: 'openai', region: 'us-east-1' },
      /providers\.a\.region: is for bedrock, not for openai/,
    ],
    ['a field of another type', { type: 'gemini', defaultMaxTokens: 5 }, /defaultMaxTokens: is for anthropic/],
    ['a breaker that no breaker takes', { type: 'openai', breaker: { openMs: 4_000_000 } }, /breaker/],
    ['no timeout', { type: 'openai', timeouts: {} }, /timeouts: give totalMs/],
  ])('refuses %s when it is read: %j', (_what, provider, message) => {
    expect(() => defineGateway({ providers: { a: provider as never } })).toThrow(message)
  })

  it('has no pictures and no sound behind guards, which cannot read them', async () => {
    const { service } = await start({}, { guards: [{ type: 'redact' }], models: { fast: 'gpt/gpt-4o-mini' } })
    await expect(service.resolve('media', 'gpt-4o')).rejects.toMatchObject({ status: 400 })
    await expect(service.resolve('media', 'fast')).rejects.toMatchObject({ status: 400 })
    expect(await service.resolve('generate', 'fast')).toMatchObject({ id: 'gpt-4o-mini' })
    const open = await start({})
    expect(await open.service.resolve('media', 'gpt-4o')).toMatchObject({ task: 'media' })
  })

  it('calls an echo as its configuration does', async () => {
    const service = gatewayService({ providers: { local: { type: 'echo' } } }, { env: {} })
    const { call, dispatched } = recorded()
    expect(await service.run('generate', 'local/echo', hello, call)).toMatchObject({ output: { text: 'hello' } })
    expect(dispatched).toEqual(['local/echo'])
    expect(() => defineGateway({ providers: { local: { type: 'echo', apiKey: 'sk-of-nobody' } } })).toThrow(
      /providers\.local\.apiKey: is not for echo/,
    )
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

  it('asks another beside one that is silent', async () => {
    const models = {
      quick: { targets: ['claude/claude-test'], hedge: { afterMs: 20, target: 'spare' } },
      spare: { targets: ['gpt/gpt-4o'] },
      again: { targets: ['claude/claude-test'], maxAttempts: 1, hedge: { afterMs: 0 } },
    }
    const { ask, anthropic } = await start({ 'claude-test': { stallAfter: -1 } }, { models })
    const called = anthropic.next()
    expect(await ask('quick')).toEqual(['ok', 'claude/claude-test', 'gpt/gpt-4o'])
    expect(await (await called).broken).toBe(true)
    // The attempts of a route are those of its hedges too.
    const later = anthropic.next()
    const asked = ask('again')
    await later
    anthropic.script('claude-test', {})
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(anthropic.calls).toHaveLength(2)
    await anthropic.close()
    expect(await asked).toEqual(['upstream_failed', 'claude/claude-test'])
  })

  it('shows a share to another, until it is closed', async () => {
    const results: ShadowResult[] = []
    const models = { chat: { targets: ['gpt/gpt-4o'], shadow: { to: 'claude/claude-test', share: 1 } } }
    const { ask, service, anthropic } = await start(
      {},
      { models },
      {
        onShadow: (result) => void results.push(result),
      },
    )
    expect(await ask('chat')).toEqual(['ok', 'gpt/gpt-4o'])
    await expect.poll(() => results.length).toBe(1)
    expect(results[0]).toMatchObject({ outcome: 'ok', target: { provider: 'claude', model: 'claude-test' } })
    anthropic.script('claude-test', { delayMs: 200 })
    const called = anthropic.next()
    await ask('chat')
    await called
    await service.close()
    expect(results[1]).toMatchObject({ outcome: 'ok' })
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

  it.each<[string, object, Record<string, string>]>([
    [
      'credentials by their names',
      { credentials: { accessKeyId: { env: 'A' }, secretAccessKey: { env: 'B' }, sessionToken: { env: 'C' } } },
      { A: bedrockCredentials.accessKeyId, B: bedrockCredentials.secretAccessKey, C: bedrockCredentials.sessionToken },
    ],
    ['a function', { credentials: () => Promise.resolve(bedrockCredentials) }, {}],
    ['a key', { apiKey: { env: 'KEY' } }, { KEY: bedrockApiKey }],
    ['keys of which one is refused', { apiKey: ['wrong', bedrockApiKey] }, {}],
    ['the customary key', {}, { AWS_BEARER_TOKEN_BEDROCK: bedrockApiKey }],
    [
      'the customary credentials',
      {},
      {
        AWS_ACCESS_KEY_ID: bedrockCredentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: bedrockCredentials.secretAccessKey,
        AWS_SESSION_TOKEN: bedrockCredentials.sessionToken,
      },
    ],
  ])('asks Bedrock with %s', async (_name, more, env) => {
    const upstream = await bedrockUpstream()
    const arn = 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1'
    const service = gatewayService(
      {
        providers: {
          aws: {
            type: 'bedrock',
            baseUrl: upstream.baseUrl,
            models: { sonnet: arn },
            baseModels: { [arn]: 'anthropic.claude-sonnet-4-5-20250929-v1:0' },
            retry: false,
            ...more,
          },
        },
      },
      { env: { AWS_REGION: bedrockRegion, ...env } },
    )
    onTestFinished(async () => {
      await service.close()
      await upstream.close()
    })
    for (const name of ['sonnet', `aws/${arn}`, 'aws/meta.llama3-3-70b-instruct-v1:0']) {
      const { output } = await service.run('generate', name, { ...hello, topK: 3 }, recorded().call)
      expect(output.text).toBe(defaultText)
    }
    expect(upstream.calls.map(({ body }) => body['additionalModelRequestFields']).filter(Boolean)).toContainEqual({
      top_k: 3,
    })
  })

  it("finds Bedrock's credentials in the environment of the process", async () => {
    vi.stubEnv('AWS_REGION', bedrockRegion)
    vi.stubEnv('AWS_BEARER_TOKEN_BEDROCK', bedrockApiKey)
    onTestFinished(() => void vi.unstubAllEnvs())
    const upstream = await bedrockUpstream()
    const service = gatewayService({ providers: { aws: { type: 'bedrock', baseUrl: upstream.baseUrl } } })
    onTestFinished(async () => {
      await service.close()
      await upstream.close()
    })
    const { output } = await service.run('generate', 'aws/anthropic.claude-test', hello, recorded().call)
    expect(output.text).toBe(defaultText)
  })

  const gpt = { type: 'openai' as const }
  it.each<[string, object, RegExp]>([
    [
      'a secret that is not set',
      { providers: { a: { type: 'openai', apiKey: { env: 'NONE' } } } },
      /providers\.a\.apiKey: .*env names is not set/,
    ],
    ['an upstream without address', { providers: { a: { type: 'azure' } } }, /needs its baseUrl/],
    ['a Bedrock of no region', { providers: { a: { type: 'bedrock', apiKey: 'k' } } }, /a: give a region/],
    ['a Bedrock of nobody', { providers: { a: { type: 'bedrock', region: 'us-east-1' } } }, /a: give credentials/],
    [
      'a secret of credentials that is not set',
      { providers: { a: { type: 'bedrock', credentials: { accessKeyId: 'x', secretAccessKey: { env: 'NONE' } } } } },
      /providers\.a\.credentials\.secretAccessKey: .*env names is not set/,
    ],
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

  it('never repeats a key that stands where the name of its variable should', () => {
    for (const env of ['AKIDEXAMPLE0123456789', 'sk-live-0123456789']) {
      const config: GatewayConfig = { providers: { a: { type: 'openai', apiKey: { env } } } }
      let message = ''
      try {
        gatewayService(config, { env: {} })
      } catch (error) {
        message = String(error)
      }
      expect(message).toContain('providers.a.apiKey')
      expect(message).not.toContain(env)
    }
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
