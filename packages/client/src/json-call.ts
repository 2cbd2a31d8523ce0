import { type CallSpec, type Sender, send } from './call.js'
import { ResponseError } from './errors.js'
import type { CallOptions } from './options.js'
import { readJson } from './response-body.js'
import { type ResponseInfo, rememberResponse } from './response-info.js'

/** What every call that is answered with JSON shares: the one field that the answer cannot do without is checked, the rest is the server's. */
export async function callJson<T extends object>(
  sender: Sender,
  spec: Omit<CallSpec, 'accept'>,
  options: CallOptions,
  isAnswer: (body: Record<string, unknown>) => boolean,
): Promise<T> {
  const full: CallSpec = {
    ...spec,
    accept: 'application/json',
    ...(typeof spec.body === 'string' ? { contentType: 'application/json' } : {}),
  }
  return send(sender, full, options, async ({ response, info, scope }) => {
    const body = await readJson(response, sender.settings.maxResponseBytes, scope)
    if (!isAnswer(body)) throw misshapen(spec.path, info)
    return rememberResponse(body as T, info)
  })
}

export function misshapen(
  path: string,
  { status, requestId }: Pick<ResponseInfo, 'status' | 'requestId'>,
): ResponseError {
  const message = `The answer of ${path} is JSON, but not of the expected shape. Are server and client of matching versions?`
  return new ResponseError('response_invalid', message, { status, requestId })
}
