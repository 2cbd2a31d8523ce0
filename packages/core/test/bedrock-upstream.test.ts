import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { describe, expect, it, onTestFinished } from 'vitest'
import { call, claude, hello, start } from './bedrock-model.js'
import { bedrockCredentials, bedrockRegion } from './bedrock-upstream.js'

describe('bedrockProvider', () => {
  describe('the upstream of these tests', () => {
    it("is what Amazon's own client speaks to", async () => {
      const toolCalls = [{ id: 't', name: 'f', arguments: '{"a":[1,2]}' }]
      const { model, upstream } = await start({ [claude]: { text: 'So be it.', toolCalls } })
      const client = new BedrockRuntimeClient({
        endpoint: upstream.baseUrl,
        region: bedrockRegion,
        credentials: bedrockCredentials,
        requestHandler: new NodeHttpHandler(),
      })
      onTestFinished(() => client.destroy())
      const tools = [{ name: 'f', description: 'd', parameters: { type: 'object' } }]
      const asked = {
        modelId: claude,
        messages: [
          {
            role: 'user' as const,
            content: [
              { text: 'hello' },
              { image: { format: 'png' as const, source: { bytes: Buffer.from('iVBORw0K', 'base64') } } },
            ],
          },
        ],
        system: [{ text: 'Be brief.' }],
        toolConfig: {
          tools: [{ toolSpec: { name: 'f', description: 'd', inputSchema: { json: { type: 'object' } } } }],
          toolChoice: { any: {} },
        },
        inferenceConfig: { maxTokens: 9, temperature: 0.5, topP: 0.25, stopSequences: ['END'] },
        additionalModelRequestFields: { top_k: 3 },
        additionalModelResponseFieldPaths: ['/stop_sequence'],
      }
      const whole = await client.send(new ConverseCommand(asked))
      expect(whole.output?.message?.content).toEqual([
        { text: 'So be it.' },
        { toolUse: { toolUseId: 't', name: 'f', input: { a: [1, 2] } } },
      ])
      const { stream } = await client.send(new ConverseStreamCommand(asked))
      let text = ''
      for await (const event of stream ?? []) text += event.contentBlockDelta?.delta?.text ?? ''
      expect(text).toBe('So be it.')

      await model.run(
        {
          messages: [
            { role: 'system', content: 'Be brief.' },
            {
              role: 'user',
              content: [
                { type: 'text', text: 'hello' },
                { type: 'image', url: 'data:image/png;base64,iVBORw0K' },
              ],
            },
          ],
          tools,
          toolChoice: 'required',
          maxOutputTokens: 9,
          temperature: 0.5,
          topP: 0.25,
          topK: 3,
          stop: ['END'],
        },
        call,
      )
      const [official, , ours] = upstream.calls
      expect(ours?.path).toBe(official?.path)
      expect(ours?.body).toEqual(official?.body)
    })

    it('refuses what is not signed with its secret', async () => {
      for (const wrong of [{ secretAccessKey: 'x' }, { sessionToken: 'x' }, { accessKeyId: 'AKIAWRONG' }]) {
        const { model } = await start({}, { credentials: { ...bedrockCredentials, ...wrong } })
        await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
      }
      const { model } = await start({}, { region: 'us-east-1' })
      await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
    })
  })
})
