import { describe, expect, it } from 'vitest'
import { fakeModel } from '../../test/fake-model.js'
import { defaultText } from '../../test/fixture-upstream.js'
import { hello, recorded, start } from '../../test/gateway.js'
import { inferenceService } from '../inference/service.js'
import { namedModels } from '../providers/named-models.js'
import { gatewayService } from './gateway-service.js'
import { reloadableService } from './reloadable-service.js'

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

  it('closes with itself what still drains', async () => {
    const closed: string[] = []
    const made = (name: string) =>
      inferenceService({
        providers: [
          {
            ...namedModels({ models: { m: fakeModel('m', ['hang']).model } }),
            close: async () => void closed.push(name),
          },
        ],
      })
    const service = reloadableService(made('old'), 60_000)
    const controller = new AbortController()
    const asked = service.run('generate', 'm', hello, { signal: controller.signal, requestId: 'r' })
    const replaced = service.replace(made('new'))
    await service.close()
    expect(closed.toSorted()).toEqual(['new', 'old'])
    await replaced
    controller.abort()
    await expect(asked).rejects.toMatchObject({ code: 'client_closed' })
  })

  it('closes no model that still counts', async () => {
    const closed: string[] = []
    let counted: (tokens: number) => void = () => {}
    const { model } = fakeModel('m')
    const countTokens = () =>
      new Promise<number>((resolve) => {
        counted = resolve
      })
    const old = inferenceService({
      providers: [
        { ...namedModels({ models: { m: { ...model, countTokens } } }), close: async () => void closed.push('old') },
      ],
    })
    const service = reloadableService(old, 60_000)
    const tokens = (await service.resolve('generate', 'm')).countTokens?.(hello, recorded().call)
    const replaced = service.replace(inferenceService({ providers: [namedModels({ models: { m: model } })] }))
    await new Promise((resolve) => setImmediate(resolve))
    expect(closed).toEqual([])
    counted(7)
    expect(await tokens).toBe(7)
    await replaced
    expect(closed).toEqual(['old'])
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
