import { describe, expect, it } from 'vitest'
import { gptTokenizer } from '../gpt-tokenizer.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput, Part } from '../inference/task.js'
import { providerCases } from '../testing/provider.js'
import { countedCharacters } from '../tokenizer.js'
import { echoProvider } from './echo.js'

const tokenizer = gptTokenizer()
const provider = echoProvider({ tokenizer })
const call: Call = { signal: new AbortController().signal, requestId: 'r' }
const generate = provider.model('generate', 'echo')
const embed = provider.model('embed', 'echo')

function said(content: string, more: Partial<GenerateInput> = {}): GenerateInput {
  return {
    messages: [
      { role: 'user', content: 'earlier' },
      { role: 'user', content },
      { role: 'assistant', content: 'x' },
    ],
    ...more,
  }
}

describe('echoProvider', () => {
  describe('as any provider', () => {
    for (const { name, run } of providerCases) {
      it(name, () => run({ make: () => echoProvider({ tokenizer }), models: { generate: 'echo', embed: 'echo' } }))
    }
  })

  it('repeats the last user message, text parts joined', async () => {
    expect((await generate?.run(said('Hello  you\n'), call))?.output.text).toBe('Hello  you\n')
    const content = [
      { type: 'text', text: 'a' },
      { type: 'image', url: 'x' },
      { type: 'text', text: 'b' },
    ] as const
    expect((await generate?.run({ messages: [{ role: 'user', content }] }, call))?.output.text).toBe('ab')
    expect((await generate?.run({ messages: [{ role: 'system', content: 'x' }] }, call))?.output.text).toBe('')
  })

  it('counts with the tokenizer, and says that the count is true', async () => {
    const { usage } = (await generate?.run(said('Hello there, world'), call)) ?? {}
    expect(usage).toEqual({
      inputTokens: tokenizer.count('earlier') + tokenizer.count('Hello there, world') + tokenizer.count('x'),
      outputTokens: tokenizer.count('Hello there, world'),
      estimated: false,
    })
  })

  it('counts slices of a text that would hold the process up', async () => {
    let characters = 0
    const count = (text: string) => {
      characters += text.length
      return tokenizer.count(text)
    }
    const counting = { name: 'counting', count }
    const odd = 'xyzzy'.repeat(200_000)
    const echo = echoProvider({ tokenizer: counting }).model('generate', 'echo')
    const { output, usage } = (await echo?.run({ messages: [{ role: 'user', content: odd }] }, call)) ?? {}
    expect(output?.text).toBe(odd)
    expect(characters).toBeLessThanOrEqual(2 * countedCharacters)
    expect(usage).toMatchObject({ estimated: true, inputTokens: usage?.outputTokens })
    expect(Math.abs((usage?.inputTokens ?? 0) / tokenizer.count(odd) - 1)).toBeLessThan(0.01)
  })

  it.each([1, 2, 3, 7])('writes no more than %d tokens, in whole characters', async (maxOutputTokens) => {
    const text = 'Some words, 你好 and 🙂🙂🙂 at the end of it all'
    const { output, usage } = (await generate?.run(said(text, { maxOutputTokens }), call)) ?? {}
    expect(output?.finishReason).toBe('length')
    expect(text.startsWith(output?.text ?? '!')).toBe(true)
    // No half of a surrogate pair.
    expect(Buffer.from(output?.text ?? '').toString()).toBe(output?.text)
    expect(usage?.outputTokens).toBeLessThanOrEqual(maxOutputTokens)
  })

  it('counts a long text a few times over, wherever it has to be cut', async () => {
    const text = 'zq🙂'.repeat(25_000)
    let counted = 0
    const counting = {
      name: 'counting',
      count(some: string) {
        counted += some.length
        return some.length
      },
    }
    const model = echoProvider({ tokenizer: counting }).model('generate', 'echo')
    for (const maxOutputTokens of [1, 4095, 50_001, 99_999]) {
      counted = 0
      const { output } = (await model?.run(said(text, { maxOutputTokens }), call)) ?? {}
      // A pair of surrogates is kept whole.
      const fits = maxOutputTokens % 4 === 3 ? maxOutputTokens - 1 : maxOutputTokens
      expect(output?.text).toBe(text.slice(0, fits))
      expect(output?.finishReason).toBe('length')
      expect(counted).toBeLessThan(4 * text.length)
    }
  })

  it('streams word by word, spaces kept', async () => {
    const parts: Part<'generate'>[] = []
    for await (const part of generate?.stream?.(said('  a bc\n d '), call) ?? []) parts.push(part)
    expect(parts.map((part) => (part.type === 'text' ? part.text : part.type))).toEqual([
      '  ',
      'a ',
      'bc\n ',
      'd ',
      'end',
    ])
  })

  it('waits between words if told to, and stops waiting when its caller leaves', async () => {
    const slow = echoProvider({ tokenizer, wordDelayMs: 60_000 }).model('generate', 'echo')
    const controller = new AbortController()
    const parts = slow?.stream?.(said('a b'), { ...call, signal: controller.signal })[Symbol.asyncIterator]()
    const first = parts?.next()
    controller.abort()
    await expect(first).rejects.toMatchObject({ code: 'client_closed' })
  })

  it('embeds to unit length; texts that share words are nearer than those that do not', async () => {
    const inputs = ['the red fox runs', 'a red fox ran', 'quarterly tax report', '...', [1, 2, 3]]
    const { output } = (await embed?.run({ inputs, dimensions: 512 }, call)) ?? {}
    const [fox = [], other = [], tax = []] = output?.vectors.map((vector) => Array.from(vector)) ?? []
    for (const vector of output?.vectors ?? []) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    const dot = (left: number[], right: number[]) =>
      left.reduce((sum, number, index) => sum + number * (right[index] ?? 0), 0)
    expect(dot(fox, other)).toBeGreaterThan(dot(fox, tax))
    expect(fox).toHaveLength(512)
  })

  it('does not make gigabytes of a short request', async () => {
    const inputs = Array.from({ length: 11 }, () => 'x')
    await expect(embed?.run({ inputs, dimensions: 100_000 }, call)).rejects.toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'dimensions' }],
    })
    const { output } = (await embed?.run({ inputs: ['x'], dimensions: 100_000 }, call)) ?? {}
    expect(output?.vectors[0]).toHaveLength(100_000)
  })

  it('is named as what it is', async () => {
    const infos = (await provider.list?.()) ?? []
    for (const info of infos) {
      expect(info.ownedBy).toBe('tollgate-development')
      expect(info.description).toMatch(/development only/)
    }
  })

  it('refuses options that are wrong', () => {
    expect(() => echoProvider({} as never)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    expect(() => echoProvider({ tokenizer, delay: 5 } as never)).toThrow(/delay/)
  })
})
