import { describe, expect, it } from 'vitest'
import type { Model, ModelInfo } from './model.js'
import type { Provider } from './provider.js'
import { registry } from './registry.js'
import type { Task } from './task.js'

/** A provider of models by task, id and version; the last version listed is the newest. */
function provider(name: string, infos: readonly ModelInfo[], more: Partial<Provider> = {}): Provider {
  return {
    name,
    model: <T extends Task>(task: T, id: string, version?: string) => {
      const info = infos.findLast(
        (each) => each.task === task && each.id === id && (version === undefined || each.version === version),
      )
      if (info === undefined) return undefined
      const model = { task, provider: name, id, run: () => Promise.reject(new Error('not run')) }
      return (info.version === undefined ? model : { ...model, version: info.version }) as unknown as Model<T>
    },
    list: () => Promise.resolve(infos),
    ...more,
  }
}

const iris = provider('onnx', [
  { id: 'iris', task: 'predict', version: '1', loadedAt: 1000, inputSchema: { type: 'object' } },
  { id: 'iris', task: 'predict', version: '2', loadedAt: 2000, description: 'Flowers.' },
])
const chat = provider('llm', [
  { id: 'small', task: 'generate', ownedBy: 'someone' },
  { id: '@cf/meta/llama', task: 'generate' },
  { id: 'vectors', task: 'embed' },
])

describe('registry', () => {
  it.each([
    ['iris', '2'],
    ['iris@latest', '2'],
    ['iris@1', '1'],
    ['flower', '2'],
    ['flower@1', '1'],
    ['old', '1'],
    ['old@latest', '1'],
    ['twice', '1'],
  ])('%s is version %s', (name, version) => {
    const models = registry({
      providers: [iris],
      aliases: { flower: 'iris', old: 'iris@1', twice: 'again', again: 'old' },
    })
    expect(models.find('predict', name)?.version).toBe(version)
  })

  it.each(['iris@3', 'iris@', 'iris@1@1', '@latest', 'nope', '__proto__', 'constructor', 'old@2'])(
    '%s is none',
    (name) => {
      const models = registry({ providers: [iris], aliases: { old: 'iris@1' } })
      expect(models.find('predict', name)).toBeUndefined()
    },
  )

  it('takes an @ at the beginning for a part of the name', () => {
    expect(registry({ providers: [chat] }).find('generate', '@cf/meta/llama@latest')?.id).toBe('@cf/meta/llama')
  })

  it('asks providers that take any name last, and only for what no other has', () => {
    const any = provider('any', [], {
      anyName: true,
      model: <T extends Task>(task: T, id: string) => ({ task, id, provider: 'any' }) as unknown as Model<T>,
    })
    const models = registry({ providers: [any, chat] })
    expect(models.find('generate', 'small')?.provider).toBe('llm')
    expect(models.find('generate', 'large')?.provider).toBe('any')
    expect(models.find('generate', 'gro\u00df-\u{1f600}')?.provider).toBe('any')
    expect(models.find('generate', 'half-\ud83d')).toBeUndefined()
  })

  it('lists an alias though its provider cannot say what it has', async () => {
    const any = provider('any', [], {
      anyName: true,
      model: <T extends Task>(task: T, id: string) => ({ task, id, provider: 'any' }) as unknown as Model<T>,
    })
    const models = registry({ providers: [any], aliases: { fast: 'gpt-x' } })
    expect(await models.list()).toEqual([{ id: 'fast', task: 'generate', provider: 'any', aliasOf: 'gpt-x' }])
    expect(await models.describe('fast')).toMatchObject({
      name: 'fast',
      versions: [{ version: 'latest', latest: true }],
    })
  })

  it('serves names by a star, the narrowest first, and lists what it knows of them', async () => {
    const any = provider('any', [{ id: 'claude-4', task: 'generate' }], {
      anyName: true,
      model: <T extends Task>(task: T, id: string) => ({ task, id, provider: 'any' }) as unknown as Model<T>,
    })
    const models = registry({
      providers: [
        { provider: any, models: { 'claude-*': 'claude-*', 'any/*': '*', 'any/x-*': 'y-*', pinned: 'z' } },
        chat,
      ],
    })
    const ids = ['claude-4-5', 'any/gpt', 'any/x-1', 'pinned', 'small', 'claude-', 'gpt'].map(
      (name) => models.find('generate', name)?.id,
    )
    expect(ids).toEqual(['claude-4-5', 'gpt', 'y-1', 'z', 'small', undefined, undefined])
    expect(
      (await models.list())
        .filter((each) => each.provider === 'any')
        .map(({ id }) => id)
        .sort(),
    ).toEqual(['any/claude-4', 'claude-4', 'pinned'])
    for (const names of [{ 'a*': 'b' }, { a: 'b*' }, ['a*b*']]) {
      expect(() => registry({ providers: [{ provider: any, models: names as never }] })).toThrow(/star/)
    }
  })

  it('serves of a provider only the names that are given, under the names that are given', async () => {
    const listed = registry({ providers: [{ provider: chat, models: ['small'] }] })
    expect(listed.find('generate', 'small')?.id).toBe('small')
    expect(listed.find('embed', 'vectors')).toBeUndefined()
    const renamed = registry({ providers: [{ provider: chat, models: { 'house-model': 'small' } }] })
    expect(renamed.find('generate', 'house-model')?.id).toBe('small')
    expect(renamed.find('generate', 'small')).toBeUndefined()
    expect(await renamed.list()).toEqual([{ id: 'house-model', task: 'generate', ownedBy: 'someone', provider: 'llm' }])
  })

  it('lists everything once, aliases too', async () => {
    const models = registry({ providers: [iris, chat], aliases: { flower: 'iris', old: 'iris@1' } })
    expect((await models.list()).map(({ id, version, aliasOf }) => [id, version, aliasOf])).toEqual([
      ['iris', '1', undefined],
      ['iris', '2', undefined],
      ['small', undefined, undefined],
      ['@cf/meta/llama', undefined, undefined],
      ['vectors', undefined, undefined],
      ['flower', '1', 'iris'],
      ['flower', '2', 'iris'],
      ['old', '1', 'iris@1'],
    ])
  })

  it('lists what is known though one provider cannot say; if none can, fails with its error', async () => {
    const broken = provider('broken', [], { list: () => Promise.reject(new Error('down')) })
    expect(await registry({ providers: [broken, chat] }).list()).toHaveLength(3)
    await expect(registry({ providers: [broken] }).list()).rejects.toThrow('down')
    expect((await registry({ providers: [broken] }).notFound('generate', 'x')).code).toBe('model_not_found')
  })

  it('describes a model with its versions', async () => {
    const models = registry({ providers: [chat, iris], aliases: { flower: 'iris' } })
    expect(await models.describe('iris')).toMatchObject({
      name: 'iris',
      task: 'predict',
      ownedBy: 'onnx',
      description: 'Flowers.',
      versions: [
        { version: '1', latest: false, loadedAt: 1000, inputSchema: { type: 'object' } },
        { version: '2', latest: true, loadedAt: 2000 },
      ],
    })
    expect((await models.describe('iris@1'))?.versions.map(({ version }) => version)).toEqual(['1'])
    expect(await models.describe('flower')).toMatchObject({
      name: 'flower',
      versions: [{ version: '1' }, { latest: true }],
    })
    expect(await models.describe('small')).toMatchObject({
      ownedBy: 'someone',
      versions: [{ version: 'latest', latest: true }],
    })
    expect(await models.describe('iris@9')).toBeUndefined()
    expect(await models.describe('nope')).toBeUndefined()
  })

  it.each<[Task, string, RegExp]>([
    ['generate', 'nope', /^There is no model "nope" for generate\. Models for generate: @cf\/meta\/llama, small\.$/],
    ['predict', 'iris@9', /^The model "iris@9" has no such version; it has: 1, 2\.$/],
    ['generate', 'iris', /^The model "iris" does not do generate; it does: predict\.$/],
    ['generate', 'evil\n"', /"evil\\n\\""/],
  ])('says of %s %s what there is', async (task, name, message) => {
    expect((await registry({ providers: [iris, chat] }).notFound(task, name)).message).toMatch(message)
  })

  it('names at most twenty of what there is', async () => {
    const infos = Array.from({ length: 50 }, (_, index) => ({ id: `m${index}`, task: 'generate' as const }))
    const { message } = await registry({ providers: [provider('p', infos)] }).notFound('generate', 'x'.repeat(5000))
    expect(message).toMatch(/ and 30 more\.$/)
    expect(message.length).toBeLessThan(400)
  })

  it('refuses aliases in a circle and two providers of one name', () => {
    expect(() => registry({ providers: [chat], aliases: { a: 'b', b: 'c', c: 'a' } })).toThrow(/circle: a → b → c → a/)
    expect(() => registry({ providers: [chat, provider('llm', [])] })).toThrow(/"llm"/)
    expect(() => registry({ providers: [{ provider: chat, models: ['small'] }, chat] })).not.toThrow()
  })

  it('is ready when all are, and closes all though one fails', async () => {
    const closed: string[] = []
    const one = provider('one', [], {
      ready: () => Promise.reject(new Error('no such file')),
      close: () => Promise.reject(new Error('stuck')),
    })
    const two = provider('two', [], { close: async () => void closed.push('two') })
    const models = registry({ providers: [one, two] })
    await expect(models.ready()).rejects.toThrow('no such file')
    await expect(models.close()).rejects.toThrow('stuck')
    expect(closed).toEqual(['two'])
  })
})
