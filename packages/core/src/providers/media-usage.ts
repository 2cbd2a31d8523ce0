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

// OpenAI's own figures: a picture of 1024 by 1024 in medium quality; a minute of speech is 1,250 tokens and some 840 characters; ten tokens of sound heard are a second.
const tokensPerPicture = 1_056
const tokensPerPictureSent = 1_500
const tokensPerCharacter = 1.5
const tokensPerSecond = 10
/** Sound of 128 kbit/s. */
const bytesPerSecond = 16_000
/** Words of what was heard, by its tokens. */
const wordsOfSound = 1 / 3

export function kindOf({ path }: MediaInput): MediaKind {
  if (path.startsWith('/images/')) return 'image'
  return path === '/audio/speech' ? 'speech' : 'transcript'
}

/** Tokens, and rows for models that are billed by the picture, the character or the second. */
export function estimatedMedia(input: MediaInput, { sentBytes, pictures }: MediaWork, tokenizer: Tokenizer): Usage {
  const json = 'json' in input.body ? input.body.json : {}
  switch (kindOf(input)) {
    case 'image': {
      const { prompt, n } = json
      const asked = Number.isSafeInteger(n) && (n as number) > 0 ? Math.min(n as number, 10) : 1
      const rows = pictures > 0 ? pictures : asked
      return {
        inputTokens: typeof prompt === 'string' ? tokenizer.count(prompt) : 0,
        ...('form' in input.body ? { inputImageTokens: tokensPerPictureSent } : {}),
        outputTokens: 0,
        outputImageTokens: rows * tokensPerPicture,
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
