/** An error as fields of a log line. */
export interface ErrorReport {
  readonly error_name: string
  readonly error_message: string
  readonly stack?: string
  /** What it was caused by, outermost first. */
  readonly causes?: readonly string[]
}

const maxCauses = 5
const maxLength = 4_000

/**
 * What a log may hold of an error: name, message, stack and causes, and nothing of its other properties. Clients put the request they
 * sent into their errors, `authorization` header and all; a serializer that walks the object would write that down.
 * Credentials that stand in the words themselves are blotted out.
 */
export function reportOf(error: unknown): ErrorReport {
  if (!(error instanceof Error)) return { error_name: typeof error, error_message: withoutSecrets(describe(error)) }
  const causes: string[] = []
  const seen = new Set<unknown>([error])
  let { cause } = error
  while (cause !== undefined && !seen.has(cause) && causes.length < maxCauses) {
    seen.add(cause)
    causes.push(withoutSecrets(describe(cause)))
    cause = cause instanceof Error ? cause.cause : undefined
  }
  return {
    error_name: error.name,
    error_message: withoutSecrets(error.message),
    ...(error.stack === undefined ? {} : { stack: withoutSecrets(error.stack) }),
    ...(causes.length === 0 ? {} : { causes }),
  }
}

const secrets: ReadonlyArray<readonly [RegExp, string]> = [
  // Credentials of a header, of a URL, of a query string, and keys that say what they are.
  [/\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}/gi, '$1 [redacted]'],
  [/:\/\/[^\s/@]+@/g, '://[redacted]@'],
  [/([?&](?:[\w-]*(?:key|token|secret|password|signature))=)[^&\s"']+/gi, '$1[redacted]'],
  [/\b(?:sk|pk|rk|tg|ghp|xox[abp])[-_][\w-]{12,}/g, '[redacted]'],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, '[redacted]'],
]

/** The text, 4,000 characters at most, with what looks like a credential blotted out. */
export function withoutSecrets(text: string): string {
  let cleaned = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text
  for (const [pattern, replacement] of secrets) cleaned = cleaned.replace(pattern, replacement)
  return cleaned
}

function describe(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`
  if (typeof value === 'object' && value !== null) return 'a thrown object that is no Error'
  return String(value)
}
