import type { JWTPayload } from 'jose'
import { isPrincipalName } from '../principal.js'
import { commonScopes, coversScope } from '../scopes.js'

/** What of a principal a token decides. */
export interface TokenIdentity {
  readonly tenant: string
  readonly subject: string
  readonly team?: string
  readonly tier?: string
  readonly scopes?: readonly string[]
  /** Lists of models: one that is used must be in each. Default: all models. */
  readonly models?: ReadonlyArray<readonly string[]>
}

/** How the claims of one issuer are read. */
export interface ClaimReading {
  readonly issuer: string
  /** Which tenants the issuer may speak for. */
  readonly tenants: 'any' | 'own' | readonly string[]
  /** Names of the claims. */
  readonly claims: {
    readonly tenant: string
    readonly tier: string
    /** Where scopes are looked for, in this order: a list, or one string with spaces between. */
    readonly scopes: readonly string[]
  }
  /** The scopes that the issuer may give; `undefined`: all but those that give `admin:all`. */
  readonly scopes: readonly string[] | undefined
  /** Of a token that has no scope claim at all. */
  readonly defaultScopes: readonly string[]
}

/**
 * Whom verified claims stand for; `undefined` if they stand for nobody.
 *
 * - `any`: the tenant claim as it is; without one, a tenant of the subject's own within the issuer, `<iss>|<sub>`.
 * - `own`: never a tenant outside the issuer: `<iss>|<tenant claim>`, else `<iss>||<sub>`. (A claim may not begin with `|`, so that no user's
 *   name can be another's tenant.)
 * - a list: the tenant claim, which must be in it.
 */
export function identityOf(payload: JWTPayload, reading: ClaimReading): TokenIdentity | undefined {
  const { issuer, tenants, claims, scopes, defaultScopes } = reading
  const subject = payload.sub
  const claimed = payload[claims.tenant] ?? undefined
  const tier = payload[claims.tier] ?? undefined
  if (!isPrincipalName(subject)) return undefined
  // A claim of another type is a mistake of the issuer's, not the absence of a claim.
  if (claimed !== undefined && !isPrincipalName(claimed)) return undefined
  if (tier !== undefined && !isPrincipalName(tier)) return undefined
  const tenant = tenantOf(issuer, tenants, claimed, subject)
  if (!isPrincipalName(tenant)) return undefined
  return {
    tenant,
    subject,
    scopes: grantable(scopesOf(payload, claims.scopes) ?? defaultScopes, scopes),
    ...(tier === undefined ? undefined : { tier }),
  }
}

function tenantOf(issuer: string, tenants: ClaimReading['tenants'], claimed: string | undefined, subject: string) {
  if (tenants === 'own') {
    if (claimed === undefined) return `${issuer}||${subject}`
    return claimed.startsWith('|') ? undefined : `${issuer}|${claimed}`
  }
  if (tenants === 'any') return claimed ?? `${issuer}|${subject}`
  return claimed !== undefined && tenants.includes(claimed) ? claimed : undefined
}

function scopesOf(payload: JWTPayload, names: readonly string[]): readonly string[] | undefined {
  for (const name of names) {
    const value = payload[name]
    if (typeof value === 'string') return value.split(' ').filter((scope) => scope !== '')
    if (Array.isArray(value)) return value.filter((scope) => typeof scope === 'string')
    // Something that is no list is not the absence of one.
    if (value !== undefined && value !== null) return []
  }
  return undefined
}

/** An issuer knows its own tenants: whoever it calls an operator is none of all the others. */
function grantable(claimed: readonly string[], allowed: readonly string[] | undefined): readonly string[] {
  if (allowed !== undefined) return commonScopes(claimed, allowed)
  return claimed.filter((scope) => !coversScope([scope], 'admin:all'))
}
