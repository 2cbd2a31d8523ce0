import { z } from 'zod'
import { identityUnavailable } from '../middleware/auth-challenge.js'
import { isPrincipalName } from '../principal.js'
import type { UserRecord } from '../stores/directory.js'
import type { IdentityStore } from '../stores/identity-store.js'
import { hashPassword, isPasswordHash, isWeakHash, verifyPassword } from '../stores/password-hash.js'
import type { Ask } from './ask-within.js'
import type { HashQueue } from './hash-queue.js'
import type { Client } from './oauth-client.js'
import type { OAuthRequest } from './oauth-endpoint.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'
import type { Attempt } from './token-throttle.js'

interface LoginOptions {
  readonly store: Pick<IdentityStore, 'findUser' | 'update'>
  readonly ask: Ask
  readonly queue: HashQueue
  readonly decoyHash: string
  readonly attempt: (req: OAuthRequest['req'], username: string) => Promise<Attempt>
  readonly now: () => number
}

const fields = z.object({ username: z.string().min(1).max(256), password: z.string().min(1).max(1024) })

const wrongPassword = tokenRefusal('invalid_grant', 'The username or the password is wrong.', {
  code: 'invalid_credentials',
})

/**
 * Whose password is it? Unknown, disabled, wrong, and of another tenant than the client's: the same bytes after the same work. An attempt is charged before the password
 * is looked at and forgiven unless it was wrong. Rejects with `identity_unavailable`.
 */
export function passwordLogin({ store, ask, queue, decoyHash, attempt, now }: LoginOptions) {
  const logIn = async (
    { username, password }: z.output<typeof fields>,
    client: Client,
    context: OAuthRequest['context'],
  ): Promise<UserRecord | TokenRefusal> => {
    const user = await findUser(store, ask, username)
    const kept = user?.passwordHash
    const passwordHash = kept !== undefined && isPasswordHash(kept) ? kept : undefined
    const right = await queue.run(() => verifyPassword(password, passwordHash ?? decoyHash), context.signal)
    if (right === undefined) return tokenDelay('overloaded', 'Too many log in at once.', 5000)
    if (user === undefined || passwordHash === undefined || !right || user.disabled === true) return wrongPassword
    if (client.kind === 'key' && client.record.tenant !== user.tenant) return wrongPassword
    if (isWeakHash(passwordHash)) await strengthen(user, passwordHash, password, context)
    return user
  }

  /** Only now is the password known: its hash is made anew with the parameters of today. The login stands whether that works or not. */
  const strengthen = async (
    { tenant, username, userId: id }: UserRecord,
    weak: string,
    password: string,
    { signal, log }: OAuthRequest['context'],
  ): Promise<void> => {
    if (id === undefined) return
    try {
      const passwordHash = await queue.run(() => hashPassword(password), signal)
      if (passwordHash === undefined) return
      const by = { action: 'user.rehash', at: now(), actor: { tenant, subject: username, method: 'password' } }
      await ask(() =>
        store.update('user', { tenant, id }, (user) => (user.passwordHash === weak ? { passwordHash } : {}), by),
      )
    } catch (error) {
      log?.warn({ err: error }, 'a password hash was not made anew')
    }
  }

  return async ({ req, form, context }: OAuthRequest, client: Client): Promise<UserRecord | TokenRefusal> => {
    const parsed = fields.safeParse(Object.fromEntries(form))
    if (!parsed.success) {
      const names = new Set(parsed.error.issues.map((issue) => issue.path.join('.')))
      return tokenRefusal('invalid_request', `Missing or too long: ${[...names].join(', ')}.`)
    }
    let charged: Attempt
    try {
      charged = await attempt(req, parsed.data.username)
    } catch (error) {
      // Not knowing how often someone has guessed is no reason to let them guess.
      context.log?.error({ err: error }, 'the limit store failed')
      return tokenDelay('overloaded', 'Nobody can log in right now.', 1000)
    }
    if (!charged.allowed) {
      return tokenDelay('rate_limited', 'Too many wrong passwords: wait, then try again.', charged.retryAfterMs)
    }
    let outcome: UserRecord | TokenRefusal | undefined
    try {
      outcome = await logIn(parsed.data, client, context)
    } finally {
      // Only a password that was looked at and found wrong counts.
      if (outcome !== wrongPassword) await charged.forgive().catch(() => {})
    }
    return outcome
  }
}

/** The user, if there is one. Rejects with `identity_unavailable`, also for a record that is not whole. */
export async function findUser(
  store: Pick<IdentityStore, 'findUser'>,
  ask: Ask,
  username: string,
): Promise<UserRecord | undefined> {
  const user = (await ask(() => store.findUser(username))) ?? undefined
  if (user !== undefined && !(isPrincipalName(user.tenant) && Array.isArray(user.scopes))) {
    throw identityUnavailable(new TypeError("The store's record of a user lacks a tenant or scopes."))
  }
  return user
}
