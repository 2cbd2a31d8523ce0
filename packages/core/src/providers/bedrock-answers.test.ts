import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { call, claude, collect, hello, start } from '../../test/bedrock-model.js'
import {
  bedrockApiKey,
  bedrockCredentials,
  bedrockEvent,
  bedrockRegion,
  bedrockUpstream,
} from '../../test/bedrock-upstream.js'
import { defaultText } from '../../test/fixture-upstream.js'
import { bedrockProvider } from './bedrock.js'

describe('what Bedrock answers', () => {
  it('counts what is cached apart', async () => {
    const usage = {
      inputTokens: 10,
      outputTokens: 40,
      totalTokens: 280,
      cacheReadInputTokens: 200,
      cacheWriteInputTokens: 30,
      cacheDetails: [
        { ttl: '1h', inputTokens: 20 },
        { ttl: '5m', inputTokens: 10 },
      ],
    }
    const { model } = await start({ [claude]: { usage } })
    const counts = {
      inputTokens: 10,
      cacheReadTokens: 200,
      cacheWriteTokens: 10,
      cacheWrite1hTokens: 20,
      outputTokens: 40,
      estimated: false,
    }
    expect((await model.run(hello, call)).usage).toEqual(counts)
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ usage: counts })
  })

  it('estimates what the upstream does not say', async () => {
    const { model } = await start({ [claude]: { usage: false } })
    expect((await model.run(hello, call)).usage).toMatchObject({ estimated: true })
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ usage: { estimated: true } })
  })

  it.each([
    ['end_turn', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['guardrail_intervened', 'content-filter'],
    ['content_filtered', 'content-filter'],
    ['of_tomorrow', 'stop'],
  ])('says %s as %s', async (stopReason, finishReason) => {
    const { model } = await start({ [claude]: { stopReason } })
    expect((await model.run(hello, call)).output.finishReason).toBe(finishReason)
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ finishReason })
  })

  it.each([
    ['guardrail_intervened', 'content_policy_violation'],
    ['content_filtered', 'content_policy_violation'],
    ['malformed_tool_use', 'upstream_invalid'],
    ['malformed_model_output', 'upstream_invalid'],
  ])('takes nothing, and %s, for %s, and tells what it cost', async (stopReason, code) => {
    const { model } = await start({ [claude]: { text: '', stopReason } })
    const spent = vi.fn()
    await expect(model.run(hello, { ...call, spent })).rejects.toMatchObject({ code })
    expect(spent).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ estimated: false }))
    const stream = model.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code })
    expect(stream?.usageSoFar()).toMatchObject({ estimated: false })
  })

  it.each([
    [400, 'ValidationException', 'The provided model identifier is invalid.', 'model_not_found'],
    [404, 'ResourceNotFoundException', 'This model has reached the end of its life.', 'model_not_found'],
    [400, 'ValidationException', 'Input is too long for requested model.', 'context_length_exceeded'],
    [
      400,
      'ValidationException',
      'The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum',
      'context_length_exceeded',
    ],
    [
      400,
      'ValidationException',
      'The model returned the following errors: input length and `max_tokens` exceed context limit: 198214 + 8192 > 200000',
      'context_length_exceeded',
    ],
    [400, 'ValidationException', 'Output blocked by content filtering policy', 'content_policy_violation'],
    [400, 'ValidationException', 'Malformed input request', 'invalid_request'],
    [429, 'ThrottlingException', 'Too many tokens, please wait before trying again.', 'rate_limited'],
    [429, 'ModelNotReadyException', 'x', 'rate_limited'],
    [400, 'ServiceQuotaExceededException', 'x', 'rate_limited'],
    [
      403,
      'AccessDeniedException',
      "You don't have access to the model with the specified model ID.",
      'upstream_credentials',
    ],
    [
      403,
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
      'upstream_credentials',
    ],
    [400, 'ExpiredTokenException', 'The security token included in the request is expired', 'upstream_credentials'],
    [408, 'ModelTimeoutException', 'x', 'upstream_timeout'],
    [424, 'ModelErrorException', 'x', 'upstream_failed'],
    [500, 'InternalServerException', 'x', 'upstream_failed'],
    [503, 'ServiceUnavailableException', 'x', 'upstream_failed'],
  ])('tells %i %s (%s) as %s', async (status, type, message, code) => {
    const headers = { 'x-amzn-errortype': `${type}:http://internal.amazon.com/coral/com.amazon.bedrock/` }
    const { model } = await start({ [claude]: { answer: { status, headers, body: { message } } } })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code })
    const stream = model.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code })
    expect(stream?.usageSoFar()).toMatchObject({ inputTokens: 0 })
  })

  it.each([
    ['throttlingException', 'Too many requests', 'rate_limited'],
    ['modelStreamErrorException', 'x', 'upstream_failed'],
    ['validationException', 'Input is too long for requested model.', 'context_length_exceeded'],
    ['validationException', 'x', 'invalid_request'],
    ['internalServerException', 'x', 'upstream_failed'],
    ['serviceUnavailableException', 'x', 'upstream_failed'],
    ['modelTimeoutException', 'x', 'upstream_timeout'],
    ['exceptionOfTomorrow', 'x', 'upstream_failed'],
  ])('tells the exception %s (%s) within a stream as %s', async (type, message, code) => {
    for (const events of [0, 4]) {
      const { model } = await start({ [claude]: { errorAfter: { events, error: { type, message } } } })
      await expect(collect(model.stream?.(hello, call))).rejects.toMatchObject({ code })
    }
  })

  it('takes no stream for whole that ends before its last event, wherever', async () => {
    // Start, words, stop of the block, messageStop, metadata.
    const { model } = await start({ [claude]: { text: 'one two' } })
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ type: 'end' })
    for (const cutAfter of [0, 1, 2, 3, 4, 5]) {
      const { model } = await start({ [claude]: { text: 'one two', cutAfter } })
      await expect(collect(model.stream?.(hello, call)), `after ${cutAfter}`).rejects.toMatchObject({
        code: 'upstream_invalid',
      })
    }
    const { model: reset } = await start({ [claude]: { resetAfter: 3 } })
    const stream = reset.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code: 'upstream_failed' })
    expect(stream?.usageSoFar()).toMatchObject({ estimated: true })
  })

  it('takes no stream for whole that says what was used and not why it ended', async () => {
    const headers = { 'content-type': 'application/vnd.amazon.eventstream' }
    const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
    const events = [
      bedrockEvent('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'one' } }),
      bedrockEvent('eventOfTomorrow', { a: 1 }),
      bedrockEvent('metadata', { usage }),
    ]
    const told = async (all: Uint8Array[]) => {
      const answer = { status: 200, headers, body: Buffer.concat(all) }
      const { model } = await start({ [claude]: { answer } })
      return collect(model.stream?.(hello, call))
    }
    await expect(told(events)).rejects.toMatchObject({ code: 'upstream_invalid' })
    const stop = bedrockEvent('messageStop', { stopReason: 'end_turn' })
    expect((await told([...events.slice(0, 2), stop, ...events.slice(2)])).map(({ type }) => type)).toEqual([
      'text',
      'end',
    ])
  })

  it('takes no other stream, and no answer without content', async () => {
    const { model } = await start({ [claude]: { answer: { status: 200, body: { output: {} } } } })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_invalid' })
    await expect(collect(model.stream?.(hello, call))).rejects.toMatchObject({ code: 'upstream_invalid' })
    const headers = { 'content-type': 'application/vnd.amazon.eventstream' }
    const { model: odd } = await start({ [claude]: { answer: { status: 200, headers, body: 'x'.repeat(200) } } })
    await expect(collect(odd.stream?.(hello, call))).rejects.toMatchObject({ code: 'upstream_invalid' })
  })

  it('shows neither secret nor token, whatever the upstream says', async () => {
    const secret = 'wrong-secret-0123456789'
    const { model, upstream } = await start({}, { credentials: { ...bedrockCredentials, secretAccessKey: secret } })
    const error = await model.run(hello, call).catch((each: Error) => each)
    const told = JSON.stringify([String(error), String((error as Error).cause)])
    expect(told).toContain('does not match')
    expect(told).not.toContain(bedrockCredentials.sessionToken)
    expect(told).not.toContain(secret)
    expect(JSON.stringify(upstream.calls[0]?.headers)).not.toContain(secret)
  })

  it('says so when there are no credentials at the moment', async () => {
    const { model, upstream } = await start({}, { credentials: () => Promise.reject(new Error('no role')) })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
    expect(upstream.calls).toHaveLength(0)
  })

  it('counts tokens as Bedrock does, and leaves it where it cannot', async () => {
    const { model, upstream } = await start()
    expect(await model.countTokens?.({ ...hello, maxOutputTokens: 3 }, call)).toBeGreaterThan(0)
    expect(upstream.calls[0]?.path).toBe('/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens')
    expect(upstream.calls[0]?.body).toEqual({
      input: { converse: { messages: [{ role: 'user', content: [{ text: 'hello' }] }] } },
    })
    const headers = { 'x-amzn-errortype': 'ValidationException' }
    upstream.script('anthropic.claude-sonnet-4-5-20250929-v1:0', {
      answer: { status: 400, headers, body: { message: 'x' } },
    })
    expect(await model.countTokens?.(hello, call)).toBeUndefined()
  })

  it('reads the environment where nothing else is given', async () => {
    const upstream = await bedrockUpstream()
    onTestFinished(() => upstream.close())
    onTestFinished(() => void vi.unstubAllEnvs())
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_BEARER_TOKEN_BEDROCK', 'AWS_ACCESS_KEY_ID']) {
      vi.stubEnv(name, '')
    }
    const options = { baseUrl: upstream.baseUrl }
    expect(() => bedrockProvider(options)).toThrow(/AWS_REGION/)
    vi.stubEnv('AWS_REGION', bedrockRegion)
    expect(() => bedrockProvider(options)).toThrow(/AWS_ACCESS_KEY_ID/)
    vi.stubEnv('AWS_ACCESS_KEY_ID', bedrockCredentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', bedrockCredentials.secretAccessKey)
    vi.stubEnv('AWS_SESSION_TOKEN', bedrockCredentials.sessionToken)
    const ask = async () => {
      const provider = bedrockProvider(options)
      onTestFinished(() => provider.close?.())
      return (await provider.model('generate', claude)?.run(hello, call))?.output.text
    }
    expect(await ask()).toBe(defaultText)
    vi.stubEnv('AWS_BEARER_TOKEN_BEDROCK', bedrockApiKey)
    expect(await ask()).toBe(defaultText)
    expect(upstream.calls.map(({ headers }) => headers.authorization?.split(' ')[0])).toEqual([
      'AWS4-HMAC-SHA256',
      'Bearer',
    ])
  })

  it.each([
    [{ apiKey: 'a', credentials: bedrockCredentials }, /credentials or apiKey/],
    [{ apiKey: 'a\n' }, /line break/],
    [{ credentials: { accessKeyId: 'a' } }, /credentials/],
    [{ region: 'evil.example/' }, /region/],
    [{ baseUrl: 'x' }, /baseUrl/],
    [{ models: ['..'] }, /models/],
    [{ key: 'x' }, /key/],
  ])('refuses %j where it is made', (options, message) => {
    expect(() => bedrockProvider({ region: 'us-east-1', apiKey: 'k', ...options } as never)).toThrow(message)
  })
})
