/** `POST /v1/audio/speech`. What an upstream knows besides passes untouched. */
export interface SpeechRequest {
  /** Default: the server's model for pictures and sound. */
  model?: string
  input: string
  voice: string | { id: string }
  instructions?: string
  /** `mp3` unless it is said: `opus`, `aac`, `flac`, `wav`, `pcm`. */
  response_format?: string
  /** 1 is as people speak. */
  speed?: number
  [unknown: string]: unknown
}

/** Tokens, or seconds of sound. */
export type TranscriptUsage =
  | {
      type: 'tokens'
      input_tokens: number
      output_tokens: number
      total_tokens: number
      input_token_details?: { text_tokens?: number; audio_tokens?: number }
    }
  | { type: 'duration'; seconds: number }

/** What was heard. All but the text is there where it was asked for, of models that do it. */
export interface Transcript {
  text: string
  language?: string
  /** Seconds. */
  duration?: number
  words?: Array<{ word: string; start: number; end: number }>
  segments?: Array<{ text: string; start: number; end: number; speaker?: string; [unknown: string]: unknown }>
  logprobs?: Array<{ token?: string; logprob?: number; bytes?: number[] }>
  usage?: TranscriptUsage
}

/** An event of a transcript as it is written. */
export type TranscriptEvent =
  | { type: 'transcript.text.delta'; delta: string; [unknown: string]: unknown }
  | { type: 'transcript.text.segment'; text: string; start: number; end: number; [unknown: string]: unknown }
  | { type: 'transcript.text.done'; text: string; usage?: TranscriptUsage; [unknown: string]: unknown }
