import { LRUCache } from 'lru-cache'
import type { RequestContext } from '../http/context.js'
import { expectUsage } from '../http/expected-usage.js'
import { onUsage } from '../http/record-usage.js'
import { learned } from '../middleware/limit-estimate.js'
import { principalKey } from '../principal.js'
import { promptTokens, totalTokens } from '../usage.js'
import type { Stored } from './response-ids.js'

/** Responses whose length is remembered. */
const mostKnown = 50_000
/** What is stored is taken for so much until something is known of the caller's. */
const initialTokens = 8_192

/** How long conversations are that upstreams have stored: as the usage of their last answers tells, which has passed here. */
export interface StoredTokens {
  /**
   * Of a request that goes on from something stored: tells limits how much comes to what its body holds, and learns from what it uses.
   *
   * @param previous the response that it names, if it names one
   * @returns tokens; those of a response that is not known (another server's, or forgotten) are what such requests of the caller have read, three deviations above the mean, and 8,192 before the first
   */
  expect(context: RequestContext, previous: Pick<Stored, 'account' | 'id'> | undefined): number
  /** Remembers how long a conversation is after this answer, as soon as both are known. Returns what is to be told each response's id. */
  remember(context: RequestContext): (account: string, id: string) => void
}

/** In this process: the last 50,000 responses. */
export function storedTokens(): StoredTokens {
  const known = new LRUCache<string, number>({ max: mostKnown })
  const read = learned(initialTokens)
  const keyOf = ({ account, id }: Pick<Stored, 'account' | 'id'>) => `${account}\n${id}`

  return {
    expect(context, previous) {
      const caller = context.principal === undefined ? '' : principalKey(context.principal)
      const length = previous === undefined ? undefined : known.get(keyOf(previous))
      const tokens = length ?? Math.ceil(read.expect(caller, ''))
      expectUsage(context, { usage: {}, storedTokens: tokens })
      onUsage(context, (_context, { usage }) => {
        if (!usage.estimated) read.learn(caller, '', promptTokens(usage))
      })
      return tokens
    },
    remember(context) {
      let answer: string | undefined
      // Of an answer that came in one piece the usage is known before its id.
      let tokens = context.usage === undefined ? undefined : totalTokens(context.usage)
      const keep = () => {
        if (answer !== undefined && tokens !== undefined) known.set(answer, tokens)
      }
      onUsage(context, (_context, { usage }) => {
        tokens = totalTokens(usage)
        keep()
      })
      return (account, id) => {
        answer = keyOf({ account, id })
        keep()
      }
    },
  }
}
