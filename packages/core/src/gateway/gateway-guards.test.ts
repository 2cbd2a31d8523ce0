import { describe, expect, it } from 'vitest'
import type { UpstreamScript } from '../../test/fixture-upstream.js'
import { recorded, start } from '../../test/gateway.js'
import { openAiUpstream } from '../../test/openai-upstream.js'
import type { Provider } from '../inference/provider.js'
import type { InferenceService } from '../inference/service.js'
import type { GenerateInput } from '../inference/task.js'
import type { Guard } from '../wrappers/guard.js'
import { defineGateway } from './config.js'
import { gatewayService } from './gateway-service.js'

describe('guards', () => {
  const mail: GenerateInput = { messages: [{ role: 'user', content: 'to a@example.com, EMP-123456 hush' }] }
  const script: UpstreamScript = { text: 'for [EMAIL_1]' }
  const run = async (service: InferenceService, model: string) => {
    const { output } = await service.run('generate', model, mail, recorded().call)
    return output.text
  }

  it('stand before a route, and before all that goes to a provider by whatever name', async () => {
    const { service, openAi, anthropic } = await start(
      { 'gpt-4o': script, 'claude-test': script },
      {
        models: {
          safe: {
            targets: ['claude/claude-test'],
            guards: [{ type: 'redact', kinds: ['email'], restore: true, patterns: { staff: 'EMP-\\d{6}' } }],
          },
          plain: { targets: ['claude/claude-test'] },
        },
        providers: {
          gpt: {
            type: 'openai',
            baseUrl: (await openAiUpstream()).baseUrl,
            apiKey: 'sk-any-key-000000000000000',
            guards: [{ name: 'never', input: () => ({ refuse: 'no' }) }],
          },
        },
      },
    )
    expect(await run(service, 'safe')).toBe('for a@example.com')
    expect(await run(service, 'plain')).toBe('for [EMAIL_1]')
    expect(await run(service, 'claude/claude-test')).toBe('for [EMAIL_1]')
    const told = anthropic.calls.map(({ body }) => JSON.stringify(body['messages']))
    expect(told.map((text) => [text.includes('a@example.com'), text.includes('[STAFF_1]')])).toEqual([
      [false, true],
      [true, false],
      [true, false],
    ])
    await expect(run(service, 'gpt/gpt-4o')).rejects.toMatchObject({ code: 'guard_refused' })
    expect(openAi.calls).toEqual([])
  })

  it('stand before everything, and its own ones after them', async () => {
    const order: string[] = []
    const named = (name: string): Guard => ({
      name,
      input: () => {
        order.push(name)
        return 'pass'
      },
    })
    const { service } = await start(
      {},
      {
        guards: [named('all')],
        models: {
          both: { targets: ['mine/echo'], guards: [named('route')] },
          e: { targets: ['mine/echo'], task: 'embed' },
        },
        providers: { mine: { type: 'echo', guards: [named('provider')] } },
      },
    )
    await run(service, 'both')
    expect(order).toEqual(['route', 'all', 'provider'])
    await service.run('embed', 'e', { inputs: ['x'] }, recorded().call)
    expect(order.slice(3)).toEqual(['all', 'provider'])
  })

  it('turn a route to another target only if it says so', async () => {
    const refusing = { type: 'echo', guards: [{ name: 'never', input: () => ({ refuse: 'no' }) }] }
    const models = (fallbackOn?: ['guard']) => ({
      route: { targets: ['strict/echo', 'claude/claude-test'], ...(fallbackOn === undefined ? {} : { fallbackOn }) },
    })
    const strict = await start({}, { models: models(), providers: { strict: refusing } })
    expect(await strict.ask('route')).toEqual(['guard_refused'])
    const lenient = await start({}, { models: models(['guard']), providers: { strict: refusing } })
    expect(await lenient.ask('route')).toEqual(['ok', 'claude/claude-test'])
  })

  it.each<[string, unknown, RegExp]>([
    ['a kind that there is not', { type: 'redact', kinds: ['mail'] }, /guards\[0\]/],
    ['no expression', { type: 'redact', patterns: { x: '(' } }, /guards\[0\]/],
    ['no guard', { name: 'x' }, /guards\[0\]/],
    ['an unknown type', { type: 'block' }, /guards\[0\]/],
  ])('are refused: %s', (_what, guard, message) => {
    expect(() => defineGateway({ providers: { e: { type: 'echo' } }, guards: [guard] as never })).toThrow(message)
  })

  it('are not for models that predict', () => {
    const predicting: Provider = {
      name: 'own',
      model: (task) => ({ task, provider: 'own', id: 'p', run: () => Promise.reject() }),
    }
    const models = { p: { targets: ['own/p'], task: 'predict' as const, guards: [{ type: 'redact' as const }] } }
    expect(() => gatewayService({ providers: {}, models }, { providers: [predicting] })).toThrow(
      /models\.p.*generate or embed/,
    )
  })
})
