import { z } from 'zod'
import { functionOption } from '../options.js'

/** What signs requests to AWS. */
export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of credentials that last for a time only. */
  readonly sessionToken?: string | undefined
  /** When they end. */
  readonly expiration?: Date | undefined
}

/** Credentials, or how they are got: a provider of `@aws-sdk/credential-providers` is such a function. */
export type AwsCredentialSource = AwsCredentials | (() => AwsCredentials | Promise<AwsCredentials>)

const visible = z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII; is there a line break at its end?')
const credentials = z.object({
  accessKeyId: visible,
  secretAccessKey: visible,
  sessionToken: visible.optional(),
  expiration: z.date().optional(),
})

/** The zod shape of an {@link AwsCredentialSource}. */
export const awsCredentialSource = z.union([
  credentials,
  functionOption<() => AwsCredentials | Promise<AwsCredentials>>(),
])

/** Credentials that end are fetched anew so long before; those that do not, after so long. */
const refreshMs = 300_000
/** A source that failed, or gave some that end soon, is not asked again for so long while there are some that are good. */
const pauseMs = 5_000
const fetchTimeoutMs = 10_000

/**
 * Credentials for each request, fetched once for all that wait and kept until they end. Those that end soon are fetched anew beside the requests.
 *
 * The result throws, or rejects with, what the source does; and if it takes over ten seconds.
 */
export function keptCredentials(source: AwsCredentialSource): () => AwsCredentials | Promise<AwsCredentials> {
  if (typeof source !== 'function') return () => source
  let kept: { readonly credentials: AwsCredentials; readonly endsAt: number; freshUntil: number } | undefined
  let fetching: Promise<AwsCredentials> | undefined

  const fetch = async (): Promise<AwsCredentials> => {
    try {
      const fetched = credentials.parse(await within(source))
      const now = Date.now()
      const endsAt = fetched.expiration?.getTime()
      const freshUntil = endsAt === undefined ? now + refreshMs : Math.max(endsAt - refreshMs, now + pauseMs)
      kept = { credentials: fetched, endsAt: endsAt ?? Number.POSITIVE_INFINITY, freshUntil }
      return fetched
    } catch (error) {
      if (kept !== undefined) kept.freshUntil = Date.now() + pauseMs
      throw error
    } finally {
      fetching = undefined
    }
  }

  return () => {
    const now = Date.now()
    const good = kept !== undefined && now < kept.endsAt ? kept : undefined
    if (good !== undefined && now < good.freshUntil) return good.credentials
    fetching ??= fetch()
    if (good === undefined) return fetching
    // A failure shows in the next attempt, or when those at hand have ended.
    fetching.catch(() => {})
    return good.credentials
  }
}

async function within(source: () => AwsCredentials | Promise<AwsCredentials>): Promise<AwsCredentials> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no credentials within ${fetchTimeoutMs} ms`)), fetchTimeoutMs)
  })
  try {
    return await Promise.race([source(), late])
  } finally {
    clearTimeout(timer)
  }
}

/** What the environment says of Bedrock, in AWS's own names. A bearer key goes before credentials, as in AWS's SDKs. */
export function awsEnvironment(env: Readonly<Record<string, string | undefined>>): {
  readonly region?: string
  readonly apiKey?: string
  readonly credentials?: AwsCredentials
} {
  const region = env['AWS_REGION'] || env['AWS_DEFAULT_REGION']
  const apiKey = env['AWS_BEARER_TOKEN_BEDROCK']
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: token } = env
  const sessionToken = token ? { sessionToken: token } : undefined
  return {
    ...(region ? { region } : undefined),
    ...(apiKey
      ? { apiKey }
      : accessKeyId && secretAccessKey
        ? { credentials: { accessKeyId, secretAccessKey, ...sessionToken } }
        : undefined),
  }
}
