import type { IncomingMessage, ServerResponse } from 'node:http'
import { tapBody } from '../http/observe.js'

/** What was said in one request. */
export interface ContentCapture {
  fields(req: IncomingMessage): { request_body?: string; response_body: string }
}

/** Keeps the first bytes of an answer, as the handler wrote them, for the log line. */
export function captureContent(res: ServerResponse, maxBytes: number): ContentCapture {
  const chunks: Buffer[] = []
  let kept = 0
  tapBody(res, {
    chunk(bytes) {
      if (kept >= maxBytes) return
      // A copy: the writer may use its buffer again.
      const part = Buffer.from(bytes.subarray(0, maxBytes - kept))
      chunks.push(part)
      kept += part.length
    },
  })
  return {
    fields(req) {
      const { body } = req as { body?: unknown }
      const asked = body === undefined ? undefined : jsonOf(body)
      return {
        ...(asked === undefined ? {} : { request_body: cut(Buffer.from(asked), maxBytes) }),
        response_body: cut(Buffer.concat(chunks), maxBytes),
      }
    },
  }
}

function cut(bytes: Buffer, maxBytes: number): string {
  return bytes.subarray(0, maxBytes).toString('utf8')
}

// A body may be nested deeper than `JSON.stringify` can follow; that must not cost the line.
function jsonOf(body: unknown): string {
  try {
    return JSON.stringify(body)
  } catch {
    return '[not representable]'
  }
}
