import { createHmac, createSecretKey, hkdfSync, type KeyObject, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { checkedOptions, objectOption } from '../options.js'
import { type Principal, principalKey } from '../principal.js'
import type { Target } from '../target.js'

export interface ResponseIdsOptions {
  /** 32 characters or more each, the same on every server. The first seals; the others, which it has replaced, still open. */
  readonly secrets: readonly string[]
  /** Who may name what was stored for one caller: everybody of the same tenant, or the same principal alone. Default `tenant`. */
  readonly scope?: 'tenant' | 'principal'
}

/** Something that an upstream has stored: a response, or an item of one. */
export interface Stored {
  /** The account at an upstream that has it. */
  readonly account: string
  /** Which model answered. */
  readonly target: Pick<Target, 'provider' | 'model'>
  /** The upstream's own id of it. */
  readonly id: string
}

/** Ids of stored responses and their items, as callers get them. */
export interface ResponseIds {
  /** The same for the same caller and the same thing, on every server. */
  seal(principal: Principal | undefined, stored: Stored): string
  /** `undefined` for an id that was not given to this caller. */
  open(principal: Principal | undefined, id: string): Stored | undefined
}

/** The option `ids` of the routes over stored responses. */
export const responseIdsSchema = objectOption<ResponseIds>('responseIds({ secrets })', 'seal', 'open')

const schema = z.strictObject({
  secrets: z.array(z.string().min(32, 'must have 32 characters or more')).min(1),
  scope: z.enum(['tenant', 'principal']).default('tenant'),
})

const macBytes = 16
/** Longer than what is made of any upstream's id. */
const longestId = 4_096

/**
 * Ids that say which account at which upstream has stored something, and hold for one tenant: with a MAC (HMAC-SHA256, 128 bits) over both, under a secret of the servers. Nothing is kept: any server opens what another has sealed, before and after a restart.
 *
 * @throws TollgateError `config_invalid`
 * @example const ids = responseIds({ secrets: [process.env.RESPONSE_IDS_SECRET ?? ''] }); app.post('/v1/responses', responses({ service, ids }))
 */
export function responseIds(options: ResponseIdsOptions): ResponseIds {
  const { secrets, scope } = checkedOptions('responseIds', schema, options)
  const keys = secrets.map((secret) =>
    createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', 'tollgate/response-ids', 32))),
  )
  // Encoded names hold no line break and no slash, and nobody's name is empty: no two owners read the same.
  const ownerOf = (principal: Principal | undefined): string => {
    if (principal === undefined) return ''
    return scope === 'principal' ? principalKey(principal) : encodeURIComponent(principal.tenant)
  }
  const macOf = (key: KeyObject, owner: string, prefix: string, payload: Uint8Array): Buffer =>
    createHmac('sha256', key).update(`${owner}\n${prefix}\n`).update(payload).digest().subarray(0, macBytes)

  return {
    seal(principal, { account, target: { provider, model }, id }) {
      const prefix = /^[a-z]{1,16}_/.exec(id)?.[0] ?? 'id_'
      const payload = Buffer.from(JSON.stringify([account, provider, model, id]))
      const mac = macOf(keys[0] as KeyObject, ownerOf(principal), prefix, payload)
      return `${prefix}${Buffer.concat([mac, payload]).toString('base64url')}`
    },
    open(principal, sealed) {
      const [prefix] = /^[a-z]{1,16}_/.exec(sealed.slice(0, 32)) ?? []
      if (prefix === undefined || sealed.length > longestId) return undefined
      const text = sealed.slice(prefix.length)
      const bytes = Buffer.from(text, 'base64url')
      // One text for one id: the decoder takes others too.
      if (bytes.length <= macBytes || bytes.toString('base64url') !== text) return undefined
      const [mac, payload] = [bytes.subarray(0, macBytes), bytes.subarray(macBytes)]
      const owner = ownerOf(principal)
      if (!keys.some((key) => timingSafeEqual(mac, macOf(key, owner, prefix, payload)))) return undefined
      const [account, provider, model, id] = JSON.parse(payload.toString('utf8')) as [string, string, string, string]
      return { account, target: { provider, model }, id }
    },
  }
}
