import type { IssuedToken } from '@tollgate/core/wire/authorization-server'

export interface TokenSession {
  /**
   * A token that is not `refused`. Many callers at once cause one login. A caller whose token was refused after another has already been given does
   * not cause a further one.
   */
  token(refused?: string): Promise<string>
}

interface Held {
  readonly token: string
  /** From here on a new one is fetched while this one still serves. */
  readonly renewAt: number
  readonly expiresAt: number
}

/** After a renewal in the background has failed, the next is not tried before this. */
const renewalPauseMs = 5000

/**
 * Keeps one token, by logging in when it is first needed, when little of its life is left (at most a minute: in the background, so that no call waits),
 * and when the server has refused it. A login that fails rejects everybody who waits for it; the next call tries again.
 */
export function createTokenSession(login: () => Promise<IssuedToken>, now: () => number): TokenSession {
  let held: Held | undefined
  let pending: Promise<string> | undefined
  let pausedUntil = 0

  function renew(): Promise<string> {
    if (pending !== undefined) return pending
    const startedAt = now()
    pending = login()
      .then((answer) => {
        const lifeMs = answer.expires_in * 1000
        // Measured from before the login: too early rather than too late.
        const expiresAt = startedAt + lifeMs
        held = { token: answer.access_token, expiresAt, renewAt: expiresAt - Math.min(60_000, lifeMs * 0.2) }
        return held.token
      })
      .finally(() => {
        pending = undefined
      })
    return pending
  }

  return {
    async token(refused) {
      if (held !== undefined && held.token === refused) held = undefined
      const current = held
      if (current === undefined || current.expiresAt <= now()) return renew()
      if (current.renewAt <= now() && pausedUntil <= now()) {
        renew().catch(() => {
          pausedUntil = now() + renewalPauseMs
        })
      }
      return current.token
    },
  }
}
