import type { OutgoingHttpHeader, ServerResponse } from 'node:http'
import { tapBody } from '../http/observe.js'

export interface Recording {
  /** Status and headers are known and have not gone out: `getHeader` and `setHeader` work. Returns whether to keep the body. */
  head(): boolean
  /** The handler has ended the answer. `body` is absent if it was not to be kept, or grew past the limit. */
  ended(body: Buffer | undefined): void
}

/**
 * Watches an answer. `head` comes before the headers go out whether the handler writes them itself (`writeHead`) or leaves that to the
 * first `write`: those given to `writeHead` are set on the response first, as Node does too.
 */
export function recordAnswer(res: ServerResponse, maxBytes: number, recording: Recording): void {
  let begun = false
  let keep = false
  let chunks: Buffer[] = []
  let length = 0
  const begin = () => {
    if (begun) return
    begun = true
    keep = recording.head()
  }
  const writeHead = res.writeHead as (this: ServerResponse, status: number, reason?: string) => ServerResponse
  res.writeHead = function (this: ServerResponse, status: number, ...rest: unknown[]) {
    const reason = typeof rest[0] === 'string' ? rest[0] : undefined
    const headers = typeof rest[0] === 'object' && rest[0] !== null ? rest[0] : rest[1]
    setHeaders(this, headers)
    this.statusCode = status
    begin()
    return reason === undefined ? writeHead.call(this, status) : writeHead.call(this, status, reason)
  } as typeof res.writeHead
  tapBody(res, {
    head: begin,
    chunk(bytes) {
      if (!keep) return
      length += bytes.length
      if (length <= maxBytes) {
        // The handler may use its buffer again.
        chunks.push(Buffer.from(bytes))
      } else {
        keep = false
        chunks = []
      }
    },
    end() {
      recording.ended(keep ? Buffer.concat(chunks, length) : undefined)
      chunks = []
    },
  })
}

function setHeaders(res: ServerResponse, headers: unknown): void {
  if (typeof headers !== 'object' || headers === null) return
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers as Record<string, OutgoingHttpHeader>))
      res.setHeader(name, value)
    return
  }
  // Names and values in turn; a name given twice is two headers.
  for (let index = 0; index + 1 < headers.length; index += 2) res.removeHeader(headers[index] as string)
  for (let index = 0; index + 1 < headers.length; index += 2)
    res.appendHeader(headers[index] as string, headers[index + 1])
}
