import { ApiError, attachAttempts, type ClientError, type FieldError } from './errors.js'

function isAboutTheBody({ status }: ApiError): boolean {
  return status === 400 || status === 413 || status === 422
}

/** A refusal that a smaller part of the same rows may escape: not one that says which other field is wrong. */
export function isAboutRows(error: ClientError): boolean {
  if (error.kind !== 'api' || !isAboutTheBody(error)) return false
  const { status, code, errors = [] } = error
  return status === 413 || (errors.length === 0 && (code === 'invalid_request' || code.startsWith('http_')))
}

/** Would it be refused again with other rows? */
export function concernsEveryRow(error: ClientError): boolean {
  if (error.kind === 'abort' || error.kind === 'usage') return true
  if (error.kind === 'timeout') return error.which === 'signal'
  if (error.kind === 'response') return error.code === 'redirected'
  if (error.kind !== 'api') return false
  if (isAboutTheBody(error)) return !isAboutRows(error)
  return (error.status >= 401 && error.status <= 407) || error.status === 415
}

/**
 * `instances[3].features[1]` and the like: an error of its own for each row that the server names, by the row's place in the chunk. Paths are
 * rewritten to the place in the caller's rows, which `indexes` tells.
 */
export function rowErrors(error: ClientError, indexes: readonly number[]): ReadonlyMap<number, ApiError> {
  const named = new Map<number, ApiError>()
  if (error.kind !== 'api' || !isAboutTheBody(error)) return named
  const byRow = new Map<number, FieldError[]>()
  for (const fieldError of error.errors ?? []) {
    const match = /^(?:body\.)?(?:inputs|instances)\[(\d+)\](.*)$/s.exec(fieldError.path)
    const position = Number(match?.[1])
    const index = indexes[position]
    if (index === undefined) continue
    const own = byRow.get(position) ?? []
    own.push({ path: `rows[${index}]${match?.[2]}`, message: fieldError.message })
    byRow.set(position, own)
  }
  for (const [position, errors] of byRow) {
    const message = errors.map((one) => `${one.path}: ${one.message}`).join('; ')
    const { code, status, type, requestId, rateLimit } = error
    const own = new ApiError(code, message, false, { status, type, requestId, rateLimit, errors })
    attachAttempts(own, error.attempts)
    named.set(position, own)
  }
  return named
}
