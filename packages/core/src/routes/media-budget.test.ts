import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { form, formType, start } from '../../test/media-gate.js'
import { answerJson, type MediaCall } from '../../test/media-upstream.js'

const nanoUsd = 1_000_000_000
/** Of a machine that has much to do. */
const patient = { timeout: 20_000 }

/** An upstream that answers when it is told to, by what it was asked. */
function waiting(answer: (json: Record<string, unknown>) => unknown) {
  let go = () => {}
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  const options = {
    answer: async (call: MediaCall, res: Parameters<ReturnType<typeof answerJson>>[1]) => {
      const body = await call.body
      await gone
      const isJson = call.headers['content-type'] === 'application/json'
      await answerJson(answer(isJson ? JSON.parse(body.toString()) : {}))(call, res)
    },
  }
  return { options, go: () => go() }
}

/** Asks for all at once, and lets the upstream answer when each was refused or has arrived there. */
async function sideBySide(path: string, budget: string, bodies: readonly object[], answer: (json: never) => unknown) {
  const upstream = waiting(answer as never)
  const gate = await start({ upstream: upstream.options, budget })
  let refused = 0
  const asked = bodies.map(async (body) => {
    const headers = { 'content-type': 'application/json' }
    const { status } = await fetch(gate.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
    if (status === 402) refused += 1
    return status
  })
  await expect.poll(() => refused + gate.upstream.calls.length, patient).toBe(bodies.length)
  const before = await gate.standing()
  upstream.go()
  const statuses = await Promise.all(asked)
  await expect.poll(async () => (await gate.standing())?.held, patient).toBe(0)
  return { statuses, before, after: await gate.standing(), calls: gate.upstream.calls.length }
}

/** What OpenAI counts for a picture, at the most. */
const tokens = { low: 408, medium: 1_584, high: 6_240 } as const

describe('a budget, and pictures that are made side by side', () => {
  const picture = fc.record({
    model: fc.constantFrom('gpt-image-1', 'dall-e-2'),
    n: fc.integer({ min: 1, max: 4 }),
    quality: fc.constantFrom('low', 'medium', 'high', undefined),
    size: fc.constantFrom('1024x1536', 'auto', undefined),
    prompt: fc.constant('a fox in the snow'),
  })
  type Asked = { model: string; n: number; quality?: keyof typeof tokens }
  const answer = ({ model, n, quality = 'high' }: Asked) => {
    const data = Array.from({ length: n }, () => ({ b64_json: 'A' }))
    const usage = { input_tokens: 5, output_tokens: n * tokens[quality], total_tokens: 0 }
    return model === 'dall-e-2' ? { data } : { data, usage }
  }

  it('is never passed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(picture, { minLength: 2, maxLength: 12 }),
        fc.integer({ min: 1, max: 100 }),
        async (bodies, cents) => {
          const budget = (cents / 100).toFixed(2)
          const { before, after } = await sideBySide('/v1/images/generations', budget, bodies, answer)
          expect(before?.used).toBeLessThanOrEqual((cents / 100) * nanoUsd)
          expect(after?.used).toBeLessThanOrEqual((cents / 100) * nanoUsd)
        },
      ),
      { numRuns: 8 },
    )
  })

  it('holds what each will cost, and lets through as many as there is money for', async () => {
    const body = { model: 'dall-e-2', prompt: 'a fox', n: 2 }
    const made = await sideBySide(
      '/v1/images/generations',
      '0.10',
      Array.from({ length: 6 }, () => body),
      answer,
    )
    expect(made.before).toMatchObject({ held: 0.08 * nanoUsd, used: 0.08 * nanoUsd })
    expect(made.calls).toBe(2)
    expect(made.statuses.filter((status) => status === 402)).toHaveLength(4)
    expect(made.after).toMatchObject({ held: 0, used: 0.08 * nanoUsd })
  })

  it('is not held to the picture that nobody asked for', async () => {
    const body = { model: 'gpt-image-1', prompt: 'a fox', quality: 'low', size: '1024x1024' }
    const made = await sideBySide('/v1/images/generations', '1', [body], answer)
    expect(made.before?.held).toBe(2 * 5_000 + 272 * 40_000)
  })
})

describe('a budget, and sound and forms', () => {
  it('holds the price of the characters that are to be spoken', async () => {
    const body = { model: 'tts-1', input: 'x'.repeat(1_000), voice: 'coral' }
    const made = await sideBySide('/v1/audio/speech', '0.04', [body, body, body], () => ({}))
    expect(made.before).toMatchObject({ held: 0.03 * nanoUsd })
    expect(made.statuses.toSorted()).toEqual([200, 200, 402])
    expect(made.after).toMatchObject({ used: 0.03 * nanoUsd })
  })

  it('holds for sound that is heard what its bytes may last, and then what such calls have lasted', async () => {
    const file = form([
      ['model', 'whisper-1'],
      ['file', Buffer.alloc(160_000)],
    ])
    const held: Array<number | undefined> = []
    const gate = await start({
      upstream: {
        answer: async (call, res) => {
          held.push((await gate.standing())?.held)
          await answerJson({ text: 'hello', usage: { type: 'duration', seconds: 10 } })(call, res)
        },
      },
    })
    for (let call = 0; call < 30; call += 1) {
      const answer = await fetch(`${gate.url}/v1/audio/transcriptions`, {
        method: 'POST',
        headers: formType,
        body: file,
      })
      expect(answer.status).toBe(200)
      await expect.poll(async () => (await gate.standing())?.used, patient).toBe((call + 1) * 10 * 100_000)
    }
    // 16 kbit/s, at 0.0001 USD a second; what is learnt comes near the ten seconds that it really was, from above.
    expect(held[0]).toBe(81 * 100_000)
    expect(held.at(-1)).toBeLessThan(20 * 100_000)
    expect(held.at(-1)).toBeGreaterThanOrEqual(10 * 100_000)
  })

  it('holds for a form of unknown length what the largest may last', async () => {
    const body = form([
      ['model', 'whisper-1'],
      ['file', Buffer.alloc(1_000)],
    ])
    const gate = await start({ maxUploadBytes: 200_000, budget: '0.009' })
    const answer = await fetch(`${gate.url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: new Blob([body]).stream(),
      duplex: 'half',
    })
    expect(answer.status).toBe(402)
    expect(gate.upstream.calls).toHaveLength(0)
    expect((await gate.standing())?.used).toBe(0)
  })

  it('holds what a form says before its files, however slowly it comes', async () => {
    const upstream = waiting(() => ({ data: Array.from({ length: 3 }, () => ({ b64_json: 'A' })) }))
    const gate = await start({ upstream: upstream.options, budget: '0.20' })
    const fields = [
      ['model', 'dall-e-2'],
      ['n', '3'],
      ['prompt', 'a hat'],
      ['image', Buffer.alloc(100_000)],
    ] as const
    const ask = async () => {
      const bytes = form(fields)
      const body = new ReadableStream<Uint8Array>({
        async start(controller) {
          for (let at = 0; at < 400; at += 20) {
            controller.enqueue(bytes.subarray(at, at + 20))
            await setImmediate()
          }
          controller.enqueue(bytes.subarray(400))
          controller.close()
        },
      })
      const url = `${gate.url}/v1/images/edits`
      return (await fetch(url, { method: 'POST', headers: formType, body, duplex: 'half' })).status
    }
    const asked = Array.from({ length: 5 }, ask)
    await expect.poll(() => gate.upstream.calls.length, patient).toBe(3)
    expect(await gate.standing()).toMatchObject({ held: 0.18 * nanoUsd })
    upstream.go()
    expect((await Promise.all(asked)).toSorted()).toEqual([200, 200, 200, 402, 402])
    await expect.poll(gate.standing, patient).toMatchObject({ held: 0, used: 0.18 * nanoUsd })
  })

  it('takes a picture of a form for one in the best quality, until it is known what forms have', async () => {
    const held: Array<number | undefined> = []
    const gate = await start({
      upstream: {
        answer: async (call, res) => {
          held.push((await gate.standing())?.held)
          const usage = { input_tokens: 0, output_tokens: 408, total_tokens: 408 }
          await answerJson({ data: [{ b64_json: 'A' }], usage })(call, res)
        },
      },
    })
    const body = form([
      ['model', 'gpt-image-1'],
      ['image', Buffer.from('png')],
    ])
    for (let call = 0; call < 20; call += 1) {
      await fetch(`${gate.url}/v1/images/edits`, { method: 'POST', headers: formType, body })
      await expect.poll(async () => (await gate.standing())?.held, patient).toBe(0)
    }
    expect(held[0]).toBe(1_500 * 10_000 + 6_240 * 40_000)
    expect(held.at(-1)).toBeLessThan((held[0] as number) / 4)
  })
})
