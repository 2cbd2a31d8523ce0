import type { IncomingHttpHeaders } from 'node:http'
import { Sha256 } from '@aws-crypto/sha256-js'
import { EventStreamCodec } from '@smithy/eventstream-codec'
import { SignatureV4 } from '@smithy/signature-v4'
import {
  defaultText,
  type FixtureAnswer,
  type FixtureUpstream,
  type FixtureWire,
  fixtureUpstream,
  type RawRequest,
  type UpstreamScript,
  wordsOf,
} from './fixture-upstream.js'
import { embeddingOf } from './openai-upstream.js'

export const bedrockRegion = 'eu-central-1'
/** The credentials that it takes. */
export const bedrockCredentials = {
  accessKeyId: 'AKIAFIXTURE000000001',
  secretAccessKey: 'upstream-secret/0123456789+abcdefghijklmn',
  sessionToken: 'session-token-0123456789==',
}
/** The one API key that it takes instead. */
export const bedrockApiKey = 'bedrock-api-key-upstream-secret-0123456789'

type Body = Readonly<Record<string, unknown>>

/** The wire of Bedrock's runtime, with every signature checked by Amazon's own implementation. */
export const bedrockWire: FixtureWire = {
  version: '',
  refuse: (_headers, request) => refusalOf(request),
  modelOf: (path) => decodeURIComponent(path.split('/')[2] ?? ''),
  answer(path, body, script) {
    const [, , , method] = path.split('/')
    switch (method) {
      case 'count-tokens': {
        const { converse } = body['input'] as { converse: Body }
        return { json: { inputTokens: promptTokens(converse) } }
      }
      case 'invoke':
        return embedded(decodeURIComponent(path.split('/')[2] ?? ''), body)
      case 'converse': {
        const wrong = problemOf(body)
        return wrong === undefined ? { json: wholeOf(body, script) } : failure(400, 'ValidationException', wrong)
      }
      case 'converse-stream': {
        const wrong = problemOf(body)
        if (wrong !== undefined) return failure(400, 'ValidationException', wrong)
        const events = eventsOf(body, script)
        return {
          contentType: 'application/vnd.amazon.eventstream',
          events: events.slice(0, -1),
          last: events.at(-1) as Uint8Array,
          error: (error) => exception(error as { message: string }),
        }
      }
      default:
        return failure(404, 'UnknownOperationException', 'unknown')
    }
  },
}

/** A server that speaks the wire of Bedrock's runtime, and misbehaves on demand. */
export function bedrockUpstream(scripts: Readonly<Record<string, UpstreamScript>> = {}): Promise<FixtureUpstream> {
  return fixtureUpstream(bedrockWire, scripts)
}

function failure(status: number, type: string, message: string): FixtureAnswer {
  return { status, headers: { 'x-amzn-errortype': `${type}:http://internal.amazon.com/coral/` }, json: { message } }
}

/** Signs what has come as it has come, and compares. */
async function refusalOf({ method, path, headers, body }: RawRequest): Promise<FixtureAnswer | undefined> {
  const { authorization = '' } = headers
  if (authorization === `Bearer ${bedrockApiKey}`) return undefined
  const [, signed] = /^AWS4-HMAC-SHA256 Credential=[^ ]+, SignedHeaders=([^ ]+), Signature=[0-9a-f]{64}$/.exec(
    authorization,
  ) ?? [undefined, undefined]
  if (signed === undefined) return failure(403, 'MissingAuthenticationTokenException', 'Missing Authentication Token')
  const names = signed.split(';')
  for (const needed of ['host', 'x-amz-date']) {
    if (!names.includes(needed)) return failure(403, 'IncompleteSignatureException', `${needed} must be signed`)
  }
  const expected = await new SignatureV4({
    credentials: bedrockCredentials,
    region: bedrockRegion,
    service: 'bedrock',
    sha256: Sha256,
    applyChecksum: false,
  }).sign(
    {
      method,
      protocol: 'http:',
      hostname: '',
      path: path.split('?', 1)[0] ?? '',
      query: {},
      headers: Object.fromEntries(names.map((name) => [name, String(headers[name])])),
      body,
    },
    { signingDate: dateOf(headers), signableHeaders: new Set(names) },
  )
  if (expected.headers['authorization'] === authorization) return undefined
  // The real one says so too, with all that was signed.
  const message = `The request signature we calculated does not match the signature you provided. ${authorization} ${headers['x-amz-security-token']}`
  return failure(403, 'InvalidSignatureException', message)
}

function dateOf(headers: IncomingHttpHeaders): Date {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(headers['x-amz-date'])) ?? []
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

/** Rules of the real one that a bridge breaks easily. */
function problemOf(body: Body): string | undefined {
  const {
    messages,
    toolConfig,
    inferenceConfig,
    system = [],
  } = body as {
    messages: Array<{ role: string; content: Body[] }>
    toolConfig?: { tools: Body[] }
    inferenceConfig?: { temperature?: number }
    system?: Body[]
  }
  const known = ['text', 'image', 'toolUse', 'toolResult', 'reasoningContent', 'cachePoint']
  const asked = new Set<unknown>()
  if (Number(inferenceConfig?.temperature ?? 0) > 1) return 'temperature must be less than or equal to 1'
  for (const block of [...system, ...messages.flatMap(({ content }) => content)]) {
    const kinds = Object.keys(block)
    if (kinds.length !== 1 || !known.includes(String(kinds[0]))) return `Unknown block ${kinds.join()}`
    if (typeof block['text'] === 'string' && block['text'].trim() === '') return 'The text field is blank.'
  }
  for (const [index, { role, content }] of messages.entries()) {
    if (index === 0 && role !== 'user') return 'A conversation must start with a user message.'
    if (index > 0 && messages[index - 1]?.role === role) return 'roles must alternate'
    if (content.length === 0) return 'content is empty'
    for (const { toolUse, toolResult } of content as Array<Record<string, { toolUseId: string } | undefined>>) {
      if (toolUse !== undefined) asked.add(toolUse.toolUseId)
      if (toolResult !== undefined && !asked.delete(toolResult.toolUseId)) return 'unexpected toolUseId'
    }
    if (role === 'user' && asked.size > 0) return 'Expected toolResult blocks'
    if (toolConfig === undefined && content.some((block) => 'toolUse' in block || 'toolResult' in block)) {
      return 'The toolConfig field must be defined when using toolUse and toolResult content blocks.'
    }
  }
  return toolConfig?.tools.length === 0 ? 'tools is empty' : undefined
}

/** The answers of Titan and of Cohere's Embed, as Amazon's documentation has them; the count of Cohere's is in the head alone. */
function embedded(model: string, body: Body): FixtureAnswer {
  const invalid = (message: string) => failure(400, 'ValidationException', message)
  const fields = Object.keys(body)
  if (model.includes('titan')) {
    const { inputText, dimensions = 1_024 } = body as { inputText?: unknown; dimensions?: number }
    const extraneous = fields.find((field) => !['inputText', 'dimensions', 'normalize'].includes(field))
    if (extraneous !== undefined) {
      return invalid(`Malformed input request: #: extraneous key [${extraneous}] is not permitted`)
    }
    if (typeof inputText !== 'string' || inputText === '') return invalid('expected minLength: 1, actual: 0')
    if (![256, 512, 1_024].includes(dimensions)) return invalid('#/dimensions: is not a valid enum value')
    const embedding = [...embeddingOf(inputText, dimensions)]
    const inputTextTokenCount = wordsOf(inputText).length
    return { json: { embedding, inputTextTokenCount, embeddingsByType: { float: embedding } } }
  }
  const { texts, input_type: type } = body as { texts?: string[]; input_type?: unknown }
  const dimensions = Number(body['output_dimension'] ?? 1_024)
  if (!Array.isArray(texts) || texts.length > 96) return invalid('#/texts: expected maximum item count: 96')
  if (typeof type !== 'string') return invalid('#: required key [input_type] not found')
  const embeddings = texts.map((each) => [...embeddingOf(each, dimensions)])
  return {
    headers: { 'x-amzn-bedrock-input-token-count': String(texts.flatMap((each) => wordsOf(each)).length) },
    json: { id: 'e-1', texts, embeddings, response_type: 'embeddings_floats' },
  }
}

function promptTokens(body: Body): number {
  return wordsOf(JSON.stringify([body['system'] ?? '', body['messages'], body['toolConfig'] ?? []])).length
}

function blocksOf(script: UpstreamScript): Body[] {
  const thoughts = (script.reasoning ?? []).map(({ text, signature, redacted }) => ({
    reasoningContent:
      redacted === undefined
        ? { reasoningText: { text, ...(signature === undefined ? {} : { signature }) } }
        : { redactedContent: redacted },
  }))
  const text = script.text ?? (script.toolCalls === undefined ? defaultText : '')
  const calls = (script.toolCalls ?? []).map(({ id, name, arguments: json }) => ({
    toolUse: { toolUseId: id, name, input: JSON.parse(json) as unknown },
  }))
  return [...thoughts, ...(text === '' ? [] : [{ text }]), ...calls]
}

function usageOf(body: Body, script: UpstreamScript): Body {
  if (typeof script.usage === 'object') return script.usage
  const inputTokens = promptTokens(body)
  const outputTokens = blocksOf(script).reduce((sum, block) => sum + wordsOf(JSON.stringify(block)).length, 0)
  return { inputTokens, outputTokens, totalTokens: inputTokens + outputTokens }
}

function stopOf(body: Body, script: UpstreamScript): Body {
  const stopReason = script.stopReason ?? (script.toolCalls === undefined ? 'end_turn' : 'tool_use')
  const { stopSequences = [] } = (body['inferenceConfig'] ?? {}) as { stopSequences?: string[] }
  const asks = JSON.stringify(body['additionalModelResponseFieldPaths']) === '["/stop_sequence"]'
  return {
    stopReason,
    ...(asks && stopReason === 'stop_sequence'
      ? { additionalModelResponseFields: { stop_sequence: stopSequences[0] } }
      : {}),
  }
}

function wholeOf(body: Body, script: UpstreamScript): Body {
  return {
    output: { message: { role: 'assistant', content: blocksOf(script) } },
    ...stopOf(body, script),
    metrics: { latencyMs: 7 },
    ...(script.usage === false ? {} : { usage: usageOf(body, script) }),
  }
}

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString('utf8'),
  (text) => Buffer.from(text, 'utf8'),
)

function text(value: string) {
  return { type: 'string' as const, value }
}

/** An event of a stream. */
export function bedrockEvent(type: string, body: Body): Uint8Array {
  return codec.encode({
    headers: {
      ':event-type': text(type),
      ':content-type': text('application/json'),
      ':message-type': text('event'),
    },
    // The real one pads its events, so that their lengths tell nothing.
    body: Buffer.from(JSON.stringify({ ...body, p: 'abcdefgh'.slice(JSON.stringify(body).length % 8) })),
  })
}

function exception({ type = 'internalServerException', message }: { type?: string; message: string }): Uint8Array {
  return codec.encode({
    headers: {
      ':exception-type': text(type),
      ':content-type': text('application/json'),
      ':message-type': text('exception'),
    },
    body: Buffer.from(JSON.stringify({ message })),
  })
}

function eventsOf(body: Body, script: UpstreamScript): Uint8Array[] {
  const events = [bedrockEvent('messageStart', { role: 'assistant' })]
  for (const [contentBlockIndex, block] of blocksOf(script).entries()) {
    const delta = (fields: Body) => events.push(bedrockEvent('contentBlockDelta', { contentBlockIndex, delta: fields }))
    const { text, toolUse, reasoningContent } = block as {
      text?: string
      toolUse?: { toolUseId: string; name: string; input: unknown }
      reasoningContent?: { reasoningText?: { text: string; signature?: string }; redactedContent?: string }
    }
    // Texts and thoughts begin without saying so.
    if (toolUse !== undefined) {
      const { toolUseId, name } = toolUse
      events.push(bedrockEvent('contentBlockStart', { contentBlockIndex, start: { toolUse: { toolUseId, name } } }))
      for (const input of JSON.stringify(toolUse.input).match(/.{1,5}/gs) ?? []) delta({ toolUse: { input } })
    }
    if (text !== undefined) for (const word of wordsOf(text)) delta({ text: word })
    if (reasoningContent !== undefined) {
      const { reasoningText, redactedContent } = reasoningContent
      for (const word of wordsOf(reasoningText?.text ?? '')) delta({ reasoningContent: { text: word } })
      if (reasoningText?.signature !== undefined) delta({ reasoningContent: { signature: reasoningText.signature } })
      if (redactedContent !== undefined) delta({ reasoningContent: { redactedContent } })
    }
    events.push(bedrockEvent('contentBlockStop', { contentBlockIndex }))
  }
  events.push(bedrockEvent('messageStop', stopOf(body, script)))
  const usage = script.usage === false ? {} : { usage: usageOf(body, script) }
  return [...events, bedrockEvent('metadata', { ...usage, metrics: { latencyMs: 7 } })]
}
