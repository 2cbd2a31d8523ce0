import {
  defaultText,
  type FixtureUpstream,
  type FixtureWire,
  fixtureUpstream,
  type UpstreamScript,
  wordsOf,
} from './fixture-upstream.js'

/** The one API key it takes. */
export const geminiKey = 'AIza-upstream-secret-0123456789'

type Body = Readonly<Record<string, unknown>>

/** The wire of Google's Gemini API. */
export const geminiWire: FixtureWire = {
  version: '/v1beta',
  refuse(headers) {
    if (headers['x-goog-api-key'] === geminiKey) return undefined
    return {
      status: 400,
      json: failure(400, 'INVALID_ARGUMENT', 'API key not valid. Please pass a valid API key.'),
    }
  },
  modelOf: (path) => decodeURIComponent(/^\/models\/([^:]+)/.exec(path)?.[1] ?? ''),
  answer(path, body, script) {
    const [, method] = path.split(':')
    switch (method) {
      case 'countTokens':
        return { json: { totalTokens: promptTokens((body['generateContentRequest'] ?? body) as Body) } }
      case 'batchEmbedContents':
        return { json: { embeddings: (body['requests'] as Body[]).map(embedding) } }
      case 'generateContent':
        return { json: wholeOf(body, script) }
      case 'streamGenerateContent': {
        const events = eventsOf(body, script).map((event) => `data: ${JSON.stringify(event)}`)
        return {
          events: events.slice(0, -1),
          last: events.at(-1) ?? '',
          error: (error) => `data: ${JSON.stringify({ error })}`,
        }
      }
      default:
        return { status: 404, json: failure(404, 'NOT_FOUND', 'Not found') }
    }
  },
}

/** A server that speaks the wire of Google's Gemini API, and misbehaves on demand. */
export function geminiUpstream(scripts: Readonly<Record<string, UpstreamScript>> = {}): Promise<FixtureUpstream> {
  return fixtureUpstream(geminiWire, scripts)
}

function embedding(request: Body): unknown {
  const { content, outputDimensionality = 4 } = request as {
    content: { parts: Array<{ text: string }> }
    outputDimensionality?: number
  }
  const seed = content.parts[0]?.text.length ?? 0
  return { values: Array.from({ length: outputDimensionality }, (_, index) => Math.fround(Math.sin(seed + index))) }
}

function promptTokens(body: Body): number {
  return wordsOf(JSON.stringify([body['systemInstruction'] ?? '', body['contents'], body['tools'] ?? []])).length
}

function partsOf(script: UpstreamScript): Body[] {
  const calls = script.toolCalls ?? []
  const text = script.text ?? (calls.length === 0 ? defaultText : '')
  const [signature] = (script.reasoning ?? []).map((thought) => thought.signature)
  return [
    ...(script.reasoning ?? []).map((thought) => ({ text: thought.text, thought: true })),
    ...(text === ''
      ? []
      : [{ text, ...(calls.length === 0 && signature !== undefined ? { thoughtSignature: signature } : {}) }]),
    ...calls.map(({ name, arguments: json }, index) => ({
      functionCall: { name, args: JSON.parse(json) as unknown },
      ...(index === 0 && signature !== undefined ? { thoughtSignature: signature } : {}),
    })),
  ]
}

function usageOf(body: Body, script: UpstreamScript): Body {
  if (typeof script.usage === 'object') return script.usage
  const written = partsOf(script).reduce((sum, part) => sum + wordsOf(JSON.stringify(part)).length, 0)
  const prompt = promptTokens(body)
  return { promptTokenCount: prompt, candidatesTokenCount: written, totalTokenCount: prompt + written }
}

function answer(parts: readonly Body[], more: Body, finishReason?: string): Body {
  return {
    candidates: [
      { content: { parts, role: 'model' }, index: 0, ...(finishReason === undefined ? {} : { finishReason }) },
    ],
    modelVersion: 'gemini-fixture',
    responseId: 'r-1',
    ...more,
  }
}

function wholeOf(body: Body, script: UpstreamScript): Body {
  const usage = script.usage === false ? {} : { usageMetadata: usageOf(body, script) }
  return answer(partsOf(script), usage, script.stopReason ?? 'STOP')
}

function eventsOf(body: Body, script: UpstreamScript): Body[] {
  const usage = script.usage === false ? {} : { usageMetadata: usageOf(body, script) }
  const pieces = partsOf(script).flatMap((part): Body[] => {
    if (typeof part['text'] !== 'string') return [part]
    const { text, thoughtSignature, ...rest } = part
    const words = wordsOf(String(text)).map((word): Body => ({ ...rest, text: word }))
    return thoughtSignature === undefined ? words : [...words, { ...rest, text: '', thoughtSignature }]
  })
  const early = { usageMetadata: { promptTokenCount: promptTokens(body), totalTokenCount: promptTokens(body) } }
  return [
    ...pieces.map((part) => answer([part], script.usage === false ? {} : early)),
    answer([{ text: '' }], usage, script.stopReason ?? 'STOP'),
  ]
}

function failure(code: number, status: string, message: string): Body {
  return { error: { code, message, status } }
}
