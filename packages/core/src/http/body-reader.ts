import type { IncomingMessage } from 'node:http'
import { isTollgateError, type TollgateError } from '../errors.js'
import { leftEarly } from './body.js'

/** Reads a request's body as it arrives. */
export interface BodyReader {
  /**
   * The next bytes, `undefined` after the last. The caller is held back while nobody reads. One call at a time.
   *
   * @throws TollgateError `client_closed`, `payload_too_large` of `bodyLimit`, what `fail` was given
   */
  read(): Promise<Buffer | undefined>
  /** No more is to be read: this is why. */
  fail(error: TollgateError): void
}

/** By hand instead of `for await`, which destroys the request, and with it the connection, before an error can be answered. */
export function bodyReader(req: IncomingMessage): BodyReader {
  let failure: TollgateError | undefined
  let wake = () => {}
  const fail = (error: TollgateError) => {
    failure ??= error
    wake()
  }
  req.on('error', (cause) => fail(isTollgateError(cause) ? cause : leftEarly(cause)))
  req.on('close', () => fail(leftEarly()))
  return {
    fail,
    async read() {
      for (;;) {
        if (req.readableEnded) return undefined
        if (req.destroyed) fail(leftEarly())
        if (failure !== undefined) throw failure
        const chunk = req.read() as Buffer | null
        if (chunk !== null) return chunk
        await new Promise<void>((resolve) => {
          wake = () => {
            req.off('readable', wake).off('end', wake)
            resolve()
          }
          req.on('readable', wake).on('end', wake)
        })
      }
    },
  }
}
