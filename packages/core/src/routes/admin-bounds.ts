import { TollgateError } from '../errors.js'
import { insufficientScope } from '../middleware/auth-challenge.js'
import { coversModels } from '../model-lists.js'
import type { ApiKeyRecord, UserRecord } from '../stores/directory.js'
import type { IdentityStore, Team, Tenant } from '../stores/identity-store.js'
import { type Administrator, realm } from './admin-request.js'

type Limits = Readonly<Record<string, number | string>>
type Holder = Pick<ApiKeyRecord | UserRecord, 'tier' | 'models'>

/**
 * What an administrator may give at most, beside scopes: the models that they may use themself, and no tier but their own and the tenant's, since it decides what is paid. Where a
 * key may be used from, and until when, is not held: that guards a secret, and says nothing of what may be had.
 */
export interface AdminBounds {
  /** The models of a new key that names none: `undefined` if it needs no list of its own. Throws 403 if they cannot be said in one list. */
  modelsFor(holder: Holder): readonly string[] | undefined
  /** The caller's own amounts, which a new key gets too: two keys shall not have what one was refused. */
  readonly limits: Limits | undefined
  /** @throws TollgateError `insufficient_scope` for who has more: they may be ended, but not handed out */
  check(holder: Holder): void
}

const none: AdminBounds = { modelsFor: () => undefined, limits: undefined, check() {} }

/** Of the caller, for what is given in one tenant. Operators have none. */
export function adminBounds(admin: Administrator, tenant: Tenant | undefined): AdminBounds {
  if (admin.tenant !== undefined) return boundsOf(admin, tenant)
  return none
}

function boundsOf({ principal }: Administrator, tenant: Tenant | undefined): AdminBounds {
  const lists = principal.models ?? []
  const uncovered = ({ models = [] }: Holder) =>
    lists.filter((list) => !models.some((narrower) => coversModels(list, narrower)))
  return {
    modelsFor(holder) {
      const [own, ...more] = uncovered(holder)
      if (more.length === 0) return own
      throw moreModels()
    },
    limits: ownLimits(principal.limits, tenant?.limits),
    check(holder) {
      if (uncovered(holder).length > 0) throw moreModels()
      const { tier } = holder
      if (tier !== undefined && tier !== principal.tier && tier !== tenant?.tier) throw otherTier()
    },
  }
}

function moreModels(): TollgateError {
  return withMessage(
    'It would have more models than the credentials may use themselves: give models, a list of those, or ask who has admin:all.',
  )
}

function otherTier(): TollgateError {
  return withMessage('It has a tier of its own, which only those with admin:all hand out.')
}

function withMessage(message: string): TollgateError {
  const { headers } = insufficientScope(realm, ['admin:all'])
  return new TollgateError('insufficient_scope', message, { headers })
}

/** What a key has beyond its tenant. */
function ownLimits(limits: Limits | undefined, ofTenant: Limits | undefined): Limits | undefined {
  const own = Object.entries(limits ?? {}).filter(
    ([name, amount]) => ofTenant === undefined || !Object.hasOwn(ofTenant, name) || ofTenant[name] !== amount,
  )
  return own.length === 0 ? undefined : Object.fromEntries(own)
}

/** The tenant of someone, and their team. */
export async function frameOf(store: IdentityStore, tenant: string, team: string | undefined) {
  const [itsTenant, itsTeam]: [Tenant | undefined, Team | undefined] = await Promise.all([
    store.find('tenant', { id: tenant }),
    team === undefined ? undefined : store.find('team', { tenant, id: team }),
  ])
  return { tenant: itsTenant, team: itsTeam, roles: [] }
}
