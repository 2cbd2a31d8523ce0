import { TollgateError } from '@tollgate/core/errors'
import type { ApiKey, Entities, EntityKind, Role, Team, User } from '@tollgate/core/stores/identity-store'

/** Columns of an entity's row beside its `body`. */
export function columnsOf(kind: EntityKind, entity: Entities[EntityKind]): Record<string, string | null> {
  switch (kind) {
    case 'tenant':
      return { id: entity.id }
    case 'team':
    case 'role':
      return { id: entity.id, tenant: (entity as Team | Role).tenant }
    case 'user': {
      const { id, tenant, username, team = null } = entity as User
      return { id, tenant, username, team }
    }
    case 'key': {
      const { id, tenant, owner } = entity as ApiKey
      return {
        id,
        tenant,
        owner_user: owner.kind === 'user' ? owner.id : null,
        owner_team: owner.kind === 'team' ? owner.id : null,
      }
    }
  }
}

/** Postgres keeps no NUL and no lone surrogate: a text with one is in no row. */
export function isStorable(...texts: ReadonlyArray<string | undefined>): boolean {
  return texts.every((text) => text === undefined || (!text.includes('\u0000') && !/\p{Cs}/u.test(text)))
}

/** What the database refused, in words of the contract; anything else as it is. */
export function refusalOf(error: unknown, kind: EntityKind, id: string): unknown {
  const { code, constraint = '' } = error as { code?: unknown; constraint?: string }
  // A character that Postgres keeps neither in text nor in JSON.
  if (code === '22021' || code === '22P05' || code === '22P02') {
    return new TollgateError('invalid_request', `The ${kind} holds a NUL or half a surrogate pair, which is not kept.`)
  }
  if (code === '23505') return new TollgateError('conflict', `The ${kind} ${id} is there already.`)
  if (code !== '23503') return error
  const parent = /team/.test(constraint) ? 'team' : /user/.test(constraint) ? 'user' : 'tenant'
  return new TollgateError('not_found', `The ${parent} that the ${kind} ${id} belongs to is not there.`)
}
