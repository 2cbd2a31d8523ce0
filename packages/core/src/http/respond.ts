import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

/** Headers by name; merged with those set before. */
export type ResponseHeaders = Readonly<OutgoingHttpHeaders>

/** Headers of an answer that nobody may keep: it holds now, or for one caller. */
export const noStore: ResponseHeaders = Object.freeze({ 'cache-control': 'no-store' })

/** Answers with JSON in one write, with its length. `body` must be something JSON can carry: `undefined` throws. */
export function sendJson(res: ServerResponse, status: number, body: unknown, headers?: ResponseHeaders): void {
  const text = JSON.stringify(body)
  if (text === undefined) throw new TypeError('sendJson: the body is not representable in JSON')
  sendBytes(res, status, Buffer.from(text), 'application/json; charset=utf-8', headers)
}

/** Answers with bytes in one write, with their length. */
export function sendBytes(
  res: ServerResponse,
  status: number,
  bytes: Uint8Array,
  contentType: string,
  headers?: ResponseHeaders,
): void {
  res.writeHead(status, { ...headers, 'content-type': contentType, 'content-length': bytes.byteLength })
  res.end(bytes)
}

/** Writes bytes of an answer; resolves when the next may come, so that a slow reader slows the source. */
export async function writeDrained(res: ServerResponse, bytes: Uint8Array): Promise<void> {
  if (!res.write(bytes)) await drained(res)
}

/** A reader that takes nothing for so long has gone, whatever its connection says. */
const longestStallMs = 120_000

/** When a full socket has taken what waits, or is closed: which it is after two minutes in which nothing of it was taken. */
export function drained(res: ServerResponse, stallMs: number = longestStallMs): Promise<void> {
  return new Promise((resolve) => {
    const { socket } = res
    // The socket's own: it knows whether a little was taken.
    const before = socket?.timeout ?? 0
    const gone = () => res.destroy()
    const done = () => {
      res.off('drain', done).off('close', done).off('timeout', gone)
      socket?.setTimeout(before)
      resolve()
    }
    res.on('drain', done).on('close', done).on('timeout', gone)
    if (before === 0 || before > stallMs) socket?.setTimeout(stallMs)
  })
}
