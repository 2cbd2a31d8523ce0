import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { models, scripts, upstreamOf } from '../../test/guarded-gateway.js'
import { llmGateway } from '../../test/llm-gateway.js'
import type { Guard } from '../wrappers/guard.js'

describe('a refusal', () => {
  const forbidding: Guard = {
    name: 'forbidding',
    input: ({ messages }) => (JSON.stringify(messages).includes('forbidden') ? { refuse: 'not that word' } : 'pass'),
    output: {
      window: 10,
      check: (text) => (text.includes('forbidden') ? { refuse: 'not that word', flag: ['word'] } : 'pass'),
    },
  }
  const said = 'Once upon a time there was a forbidden word, and it was long.'

  it.each(models)("of the request is told in the caller's words, and not sent to %s", async (model) => {
    const gateway = await llmGateway({}, { guards: [forbidding] })
    const messages = [{ role: 'user' as const, content: 'forbidden' }]
    const message = 'The guard forbidding refuses the request: not that word'
    for (const stream of [false, true]) {
      await expect(gateway.openAiClient.chat.completions.create({ model, messages, stream })).rejects.toMatchObject({
        status: 400,
        code: 'guard_refused',
        type: 'invalid_request_error',
        message: expect.stringContaining(message) as string,
      })
      await expect(
        gateway.anthropicClient.messages.create({ model, max_tokens: 9, messages, stream }),
      ).rejects.toMatchObject({
        status: 400,
        error: { type: 'error', error: { type: 'invalid_request_error', message } },
      })
    }
    expect(upstreamOf(gateway, model).calls).toEqual([])
    await expect.poll(() => gateway.ended).toHaveLength(4)
    for (const each of gateway.ended)
      expect(each).toMatchObject({ error: 'guard_refused', usage: undefined, flags: ['forbidding:refused'] })
  })

  it.each(models)(
    'of an answer of %s ends its stream in an error, after what was good, and it is paid for',
    async (model) => {
      const gateway = await llmGateway(scripts({ text: said, pieceLength: 3 }), { guards: [forbidding] })
      const messages = [{ role: 'user' as const, content: 'Tell.' }]
      const reads: Record<string, () => Promise<string>> = {
        chat: async () => {
          let text = ''
          const stream = await gateway.openAiClient.chat.completions.create({ model, messages, stream: true })
          const read = async () => {
            for await (const { choices } of stream) {
              text += choices[0]?.delta.content ?? ''
              expect(choices[0]?.finish_reason ?? null).toBeNull()
            }
          }
          await expect(read()).rejects.toMatchObject({ code: 'guard_refused' })
          return text
        },
        messages: async () => {
          let text = ''
          const stream = await gateway.anthropicClient.messages.create({
            model,
            max_tokens: 99,
            messages,
            stream: true,
          })
          const read = async () => {
            for await (const event of stream) {
              if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') text += event.delta.text
              expect(event.type).not.toBe('message_stop')
            }
          }
          await expect(read()).rejects.toMatchObject({ error: { error: { type: 'invalid_request_error' } } })
          return text
        },
        responses: async () => {
          let text = ''
          const stream = await gateway.openAiClient.responses.create({ model, input: 'Tell.', stream: true })
          const read = async () => {
            for await (const event of stream) {
              if (event.type === 'response.output_text.delta') text += event.delta
              expect(event.type).not.toBe('response.completed')
            }
          }
          await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
          return text
        },
      }
      for (const read of Object.values(reads)) {
        const text = await read()
        expect(said.slice(0, said.indexOf('forbidden'))).toContain(text)
        expect(text.length).toBeGreaterThan(8)
      }
      await expect(gateway.openAiClient.chat.completions.create({ model, messages })).rejects.toMatchObject({
        status: 400,
        code: 'guard_refused',
      })
      await expect.poll(() => gateway.ended).toHaveLength(4)
      for (const each of gateway.ended) {
        expect(each).toMatchObject({ error: 'guard_refused', flags: ['forbidding:word', 'forbidding:refused'] })
        expect(each.usage?.inputTokens).toBeGreaterThan(0)
      }
      // A whole answer was counted by the upstream.
      expect(gateway.ended[3]?.usage?.estimated).toBe(false)
    },
  )
})
