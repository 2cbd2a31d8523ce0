import { type FetchOptions, fetchJson, isTrustworthy, type KeySetLocation, kept } from './auth-jwks.js'

interface DiscoveryOptions extends FetchOptions {
  /** The issuer, to the letter. */
  readonly issuer: string
  /** Where its metadata may be, in this order: the next is asked when one answers 404. */
  readonly places: readonly URL[]
  readonly allowHttp: boolean
}

const freshMs = 3_600_000
const maxQuoted = 200

/**
 * Where an issuer's metadata are: at `discovery`, or by `true` where OpenID Connect Discovery 1.0 (section 4) and RFC 8414 (section 3) have them.
 * None if the issuer is no URL that they could be derived from.
 */
export function metadataPlaces(issuer: string, discovery: true | URL): readonly URL[] {
  if (discovery !== true) return [discovery]
  if (!/^https?:/i.test(issuer) || /[?#]/.test(issuer) || !URL.canParse(issuer)) return []
  const url = new URL(issuer)
  const path = url.pathname.replace(/\/$/, '')
  return [`${path}/.well-known/openid-configuration`, `/.well-known/oauth-authorization-server${path}`].map((place) => {
    const at = new URL(url)
    at.pathname = place
    return at
  })
}

/**
 * Where the metadata of an issuer say that its keys are.
 *
 * They are fetched when keys are, and fresh for an hour, or until the key set cannot be had where they say. What serves while they cannot be fetched
 * is as for keys. Metadata of another issuer, or with a `jwks_uri` that is not to be trusted, are a failure. The rest is not looked at: which
 * algorithms are good is for the options to say.
 */
export function discoveredKeySet(options: DiscoveryOptions): KeySetLocation {
  const { issuer, places, allowHttp, now } = options
  const metadata = kept({ load: () => fetchLocation(issuer, places, allowHttp, options), freshMs, now })
  return {
    doubt: metadata.doubt,
    async current() {
      const url = await metadata.current()
      if (url === undefined) throw metadata.failure()
      return url
    },
  }
}

async function fetchLocation(issuer: string, places: readonly URL[], allowHttp: boolean, options: FetchOptions) {
  for (const place of places) {
    const found = await fetchJson('issuer metadata', place, 'application/json', options)
    if (found !== undefined) return keySetUrl(found, issuer, allowHttp)
  }
  throw new Error('The issuer metadata answered 404.')
}

function keySetUrl(metadata: unknown, issuer: string, allowHttp: boolean): URL {
  const { issuer: named, jwks_uri: uri } = (metadata ?? {}) as { issuer?: unknown; jwks_uri?: unknown }
  if (named !== issuer) {
    throw new Error(`The issuer metadata must name the issuer ${quoted(issuer)} to the letter, not ${quoted(named)}.`)
  }
  if (typeof uri !== 'string' || !URL.canParse(uri)) {
    throw new Error('The issuer metadata have no jwks_uri that is a URL.')
  }
  const url = new URL(uri)
  if (!isTrustworthy(url, allowHttp)) {
    throw new Error('The jwks_uri of the issuer metadata must be https (allowHttp: true lets it be http).')
  }
  return url
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, maxQuoted)) : `a value of type ${typeof value}`
}
