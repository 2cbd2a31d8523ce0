import type { ErrorCode, FieldError } from '../errors.js'

/** An error answer, `application/problem+json` (RFC 9457). */
export interface Problem {
  /** `about:blank`, or where the error is described. */
  type: string
  /** Stable per code. */
  title: string
  /** Equals the HTTP status. */
  status: number
  /** What is wrong here, where, and how to mend it. */
  detail: string
  code: ErrorCode
  request_id: string
  /** ISO 8601. */
  timestamp: string
  /** For a rejected request: every field that is wrong. */
  errors?: FieldError[]
  [extension: string]: unknown
}

/** An error answer in OpenAI's shape. */
export interface OpenAiError {
  error: {
    message: string
    type: string
    /** The field that is wrong. */
    param: string | null
    code: string | null
  }
}

/** An error answer in Anthropic's shape. */
export interface AnthropicError {
  type: 'error'
  error: { type: string; message: string }
  request_id: string
}
