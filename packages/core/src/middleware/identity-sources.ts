import type { Awaitable } from '../stores/awaitable.js'
import type { ApiKeyRecord, Directory, UserRecord } from '../stores/directory.js'
import { type Remembered, remembered } from './remembered.js'

/** One directory and what is remembered of its answers. */
export interface IdentitySource {
  readonly directory: Directory
  readonly keys: Remembered<ApiKeyRecord>
  readonly users: Remembered<UserRecord>
  /** By `jti` and `sid` with a blank between. */
  readonly tokens: Remembered<TokenState>
}

interface TokenState {
  readonly ids: readonly string[]
  readonly revoked: boolean
}

interface SourceOptions {
  readonly freshMs: number
  readonly staleIfErrorMs: number
  readonly timeoutMs: number
  readonly cacheSize: number
  readonly now: () => number
}

/** Remembers answers, and forgets what the directory says has changed. */
export function identitySource(directory: Directory, options: SourceOptions): IdentitySource {
  const keys = remembered<ApiKeyRecord>({ ...options, ask: (id) => directory.findApiKey(id) })
  const users = remembered<UserRecord>({ ...options, ask: (username) => directory.findUser(username) })
  const tokens = remembered<TokenState>({ ...options, ask: (joined) => tokenState(directory, joined.split(' ')) })
  directory.onChange?.((change) => {
    const all = change.kind === 'all'
    const ofTenant = (record: { readonly tenant: string }) => all || record.tenant === change.id
    if (all || change.kind === 'tenant') {
      keys.forgetWhere(ofTenant)
      users.forgetWhere(ofTenant)
    }
    if (all || change.kind === 'token') tokens.forgetWhere(({ ids }) => all || ids.includes(change.id))
    if (change.kind === 'key') keys.forget(change.id)
    if (change.kind === 'user') {
      users.forget(change.id)
      keys.forgetWhere((record) => record.subject === change.id)
    }
  })
  return { directory, keys, users, tokens }
}

function tokenState(directory: Directory, ids: readonly string[]): Awaitable<TokenState> {
  if (directory.isTokenRevoked === undefined) return { ids, revoked: false }
  const answer = directory.isTokenRevoked(ids)
  return typeof answer === 'boolean' ? { ids, revoked: answer } : answer.then((revoked) => ({ ids, revoked }))
}
