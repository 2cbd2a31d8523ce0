import type { MediaInput } from '../inference/task.js'
import type { Tokenizer } from '../tokenizer.js'
import type { Usage } from '../usage.js'
import type { MediaKind } from '../wire/openai-media.js'

/** What is known of a request whose upstream does not say what it used. */
export interface MediaWork {
  /** Of the form that was sent. */
  readonly sentBytes: number
  /** Pictures that were answered with; 0: not known. */
  readonly pictures: number
}

// OpenAI's own figures: a picture of 1024 by 1024, by its quality; a minute of speech is 1,250 tokens and some 840 characters; ten tokens of sound heard are a second.
const tokensPerPicture: ReadonlyMap<unknown, number> = new Map([
  ['low', 272],
  ['medium', 1_056],
  ['high', 4_160],
])
const tokensPerPartialPicture = 100
const tokensPerPictureSent = 1_500
const tokensPerCharacter = 1.5
const tokensPerSecond = 10
/** Sound of 128 kbit/s. */
const bytesPerSecond = 16_000
/** Of the codecs that people send speech in: 16 kbit/s. */
const leastBytesPerSecond = 2_000
const bytesPerTextToken = 3
/** Words of what was heard, by its tokens. */
const wordsOfSound = 1 / 3

/** What is known of a body before it is read. */
export interface MediaUpload {
  /** Of the body, or the most that it may have. */
  readonly uploadBytes: number
  /** Which of both. */
  readonly isSized: boolean
  /** Of a form, those of {@link tellingFields} that came before its files. */
  readonly fields: ReadonlyMap<string, string>
}

/** Fields of forms that say how much is asked for. */
export const tellingFields = ['n', 'size', 'quality', 'stream', 'partial_images']

export function kindOf({ path }: MediaInput): MediaKind {
  if (path.startsWith('/images/')) return 'image'
  return path === '/audio/speech' ? 'speech' : 'transcript'
}

/** Tokens, and rows for models that are billed by the picture, the character or the second. */
export function estimatedMedia(input: MediaInput, { sentBytes, pictures }: MediaWork, tokenizer: Tokenizer): Usage {
  const json = 'json' in input.body ? input.body.json : {}
  switch (kindOf(input)) {
    case 'image': {
      const { prompt } = json
      const rows = pictures > 0 ? pictures : picturesAsked(json, 10)
      return {
        inputTokens: typeof prompt === 'string' ? tokenizer.count(prompt) : 0,
        ...('form' in input.body ? { inputImageTokens: tokensPerPictureSent } : {}),
        outputTokens: 0,
        outputImageTokens: rows * tokensOfPicture(json, 'medium', 1),
        rows,
        estimated: true,
      }
    }
    case 'speech': {
      const text = typeof json['input'] === 'string' ? json['input'] : ''
      const outputAudioTokens = Math.ceil(text.length * tokensPerCharacter)
      return {
        inputTokens: tokenizer.count(text),
        outputTokens: 0,
        outputAudioTokens,
        rows: text.length,
        estimated: true,
      }
    }
    default: {
      const seconds = Math.ceil(sentBytes / bytesPerSecond)
      const inputAudioTokens = seconds * tokensPerSecond
      const outputTokens = Math.ceil(inputAudioTokens * wordsOfSound)
      return { inputTokens: 0, inputAudioTokens, outputTokens, rows: seconds, estimated: true }
    }
  }
}

/**
 * The most that a request will use, as far as it can be told before it is sent. Of a form that does not say it before its files, pictures are one, in the best quality; sound is as long as speech codecs make it. What
 * forms really have is learnt.
 */
export function expectedMedia(
  input: MediaInput,
  { uploadBytes, isSized, fields }: MediaUpload,
): { readonly usage: Omit<Usage, 'estimated'>; readonly learnedAs?: string } {
  const isForm = 'form' in input.body
  const json: Json = 'json' in input.body ? input.body.json : formJson(fields)
  switch (kindOf(input)) {
    case 'image': {
      const { stream, partial_images: partial, images, mask } = json
      const rows = picturesAsked(json, 10_000)
      const partials =
        stream === true && Number.isSafeInteger(partial) ? Math.min(Math.max(partial as number, 0), 3) : 0
      const each = tokensOfPicture(json, 'high', 1.5) + partials * tokensPerPartialPicture
      const sent = isForm ? 1 : (Array.isArray(images) ? images.length : 0) + (mask === undefined ? 0 : 1)
      return {
        usage: {
          inputTokens: Math.ceil(Buffer.byteLength(textOf(json['prompt'])) / bytesPerTextToken),
          inputImageTokens: sent * tokensPerPictureSent,
          outputTokens: 0,
          outputImageTokens: rows * each,
          rows,
        },
        // How many there are may still come.
        ...(isForm && json['n'] === undefined ? { learnedAs: 'pictures from a form' } : {}),
      }
    }
    case 'speech': {
      const { input: text, instructions, speed } = json
      const slower = typeof speed === 'number' && speed > 0 ? Math.max(1, 1 / Math.max(speed, 0.25)) : 1
      return {
        usage: {
          inputTokens: Math.ceil(Buffer.byteLength(textOf(text, instructions)) / bytesPerTextToken),
          outputTokens: 0,
          // By bytes: what is written in few signs takes as long to say.
          outputAudioTokens: Math.ceil(Buffer.byteLength(textOf(text)) * tokensPerCharacter * slower),
          rows: textOf(text).length,
        },
      }
    }
    default: {
      const rows = Math.ceil(uploadBytes / leastBytesPerSecond)
      const inputAudioTokens = rows * tokensPerSecond
      const outputTokens = Math.ceil(inputAudioTokens * wordsOfSound)
      const learnedAs = isSized ? 'sound' : 'sound of unknown length'
      return { usage: { inputTokens: 0, inputAudioTokens, outputTokens, rows }, learnedAs }
    }
  }
}

type Json = Readonly<Record<string, unknown>>

/** Fields of a form as they would be in JSON. */
function formJson(fields: MediaUpload['fields']): Json {
  const counts = new Set(['n', 'partial_images'])
  return Object.fromEntries(
    [...fields].map(([name, value]) => [name, counts.has(name) ? Number(value) : value === 'true' ? true : value]),
  )
}

function picturesAsked({ n }: Json, most: number): number {
  return Number.isSafeInteger(n) && (n as number) > 0 ? Math.min(n as number, most) : 1
}

/** By the quality and the area that are asked for, else those that are given. A picture smaller than 1024 by 1024 has as many as that; none is larger than 8192 by 8192. */
function tokensOfPicture({ quality, size }: Json, otherQuality: string, otherArea: number): number {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(typeof size === 'string' ? size : '') ?? []
  const area = width === undefined ? otherArea : (Number(width) * Number(height)) / 1_024 ** 2
  const tokens = tokensPerPicture.get(quality) ?? tokensPerPicture.get(otherQuality) ?? 0
  return Math.ceil(tokens * Math.min(Math.max(area, 1), 64))
}

function textOf(...values: readonly unknown[]): string {
  return values.filter((value) => typeof value === 'string').join('\n')
}
