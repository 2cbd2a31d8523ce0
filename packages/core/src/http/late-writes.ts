import type { ServerResponse } from 'node:http'

/**
 * After an answer was given in the place of a handler that still works: what that handler writes now does nothing. Without this its
 * `setHeader` throws `ERR_HTTP_HEADERS_SENT`, which in a timer or a callback ends the process.
 */
export function ignoreLateWrites(res: ServerResponse): void {
  const { statusCode } = res
  const itself = () => res
  Object.assign(res, {
    setHeader: itself,
    setHeaders: itself,
    appendHeader: itself,
    writeHead: itself,
    removeHeader: nothing,
    flushHeaders: nothing,
    addTrailers: nothing,
    writeContinue: nothing,
    writeProcessing: nothing,
    write: (...args: unknown[]) => {
      callBack(args)
      return true
    },
    end: (...args: unknown[]) => {
      callBack(args)
      return res
    },
  })
  // What was sent is what observers report.
  Object.defineProperty(res, 'statusCode', { get: () => statusCode, set: nothing, configurable: true })
}

function nothing(): void {}

function callBack(args: readonly unknown[]): void {
  const callback = args.at(-1)
  if (typeof callback === 'function') process.nextTick(callback)
}
