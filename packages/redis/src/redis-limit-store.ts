import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { TollgateError } from '@tollgate/core/errors'
import { checkedOptions } from '@tollgate/core/options'
import { answerWithin } from '@tollgate/core/stores/answer-within'
import { askedBefore, checkActual, checkClaim, mixedKinds } from '@tollgate/core/stores/check-claim'
import { bucketState, leaseState, windowState } from '@tollgate/core/stores/claim-state'
import type { Claim, ClaimState, LimitStore, Reservation, Verdict } from '@tollgate/core/stores/limit-store'
import { settledNumbers } from '@tollgate/core/stores/settled-numbers'
import { z } from 'zod'
import { limitScript } from './limit-script.js'
import { isCluster, type RedisClient, scriptRunner } from './scripts.js'

export interface RedisLimitStoreOptions {
  /** A connected client of `ioredis` or `redis`, single or cluster, or a port of your own. It is not closed. */
  readonly client: RedisClient
  /** Are keys spread over several servers? Default: what the client says of itself. */
  readonly cluster?: boolean
  /** Begins every key. Default `tollgate:`. */
  readonly prefix?: string
  /** How long Redis may take to decide, milliseconds. Default 250. */
  readonly timeoutMs?: number
  /** How often a settle that failed is tried again. Default 5, after 0.1, 0.2, 0.4 … seconds. */
  readonly settleRetries?: number
}

const schema = z.strictObject({
  client: z.custom<RedisClient>(isClient, 'must be a client of ioredis or redis, or { scripts: { evalsha, eval } }'),
  cluster: z.boolean().optional(),
  prefix: z
    .string()
    .max(128)
    .regex(/^[^{}]*$/, 'must not hold { and }, which choose the server in a cluster')
    .default('tollgate:'),
  timeoutMs: z.int().min(1).max(60_000).default(250),
  settleRetries: z.int().min(0).max(20).default(5),
})

const kinds = { bucket: 'b', window: 'w', lease: 'l' } as const
const perClaim = 6
const longestName = 128
const loneSurrogate = /[\ud800-\udfff]/u

type Operation = 'take' | 'settle' | 'renew' | 'peek'

/** What the script says of one claim. */
interface Found {
  readonly fits: boolean
  readonly numbers: readonly [number, number, number]
  readonly marks: readonly [number, number]
}

interface Answer {
  readonly done: boolean
  /** Redis's clock, milliseconds since the epoch. */
  readonly now: number
  /** By the claim's place in the request. */
  readonly found: ReadonlyMap<number, Found>
}

/**
 * Limits in Redis 6 or later, shared by all processes: all claims of a request are decided by one script in one round trip, by the clock of the server.
 *
 * In a cluster, claims whose `partition` differs are on different servers: they are decided one partition after another, and what was taken is given back if a later one
 * refuses. With one server, or one partition, all is one step.
 *
 * A refused or failed `take` charges nothing that stays: one that was answered too late is given back when it is. `settle` is tried again when it fails, where a second try
 * cannot charge twice (held windows and leases). Rejects with `store_unavailable` when Redis fails or is late: what then holds is for whoever asks to say.
 *
 * @throws TollgateError `config_invalid` for wrong options, and for a claim that is none
 * @example const limits = rateLimit({ store: redisLimitStore({ client: new Redis(process.env.REDIS_URL) }) })
 */
export function redisLimitStore(options: RedisLimitStoreOptions): LimitStore {
  const {
    client,
    prefix,
    timeoutMs,
    settleRetries,
    cluster = isCluster(client),
  } = checkedOptions('redisLimitStore', schema, options)
  const run = scriptRunner(client, limitScript)
  const idPrefix = `${randomUUID().slice(0, 13)}-`
  const settled = settledNumbers()
  let reservations = 0

  /** Runs the script for the claims of one partition. */
  const runPart = async (
    operation: Operation,
    part: readonly number[],
    { id, claims, marks }: Reservation,
    own: boolean,
    actual?: readonly number[],
  ): Promise<Answer> => {
    const keys: string[] = []
    const args: string[] = [operation, id, own ? '1' : '0', String(part.length)]
    for (const index of part) {
      const claim = claims[index] as Claim
      const key = nameOf(prefix, claim)
      keys.push(key, `${key}:held`)
      args.push(...argumentsOf(claim))
      if (operation === 'take' || operation === 'peek') continue
      args.push(String(marks[index * 2] ?? -1), String(marks[index * 2 + 1] ?? 0), String(actual?.[index] ?? ''))
    }
    return answerOf(await run(keys, args), part)
  }

  const failed = (error: unknown, claims: readonly Claim[], part: readonly number[]): unknown => {
    const mixed = /TOLLGATE_MIXED (\d+)/.exec(error instanceof Error ? error.message : '')
    const index = mixed === null ? undefined : part[Number(mixed[1]) - 1]
    if (index !== undefined) return mixedKinds(claims[index] as Claim)
    return new TollgateError('store_unavailable', 'Limits cannot be decided right now. Try again shortly.', {
      retryAfterMs: 1_000,
      cause: error,
    })
  }

  const ask = async (
    operation: Operation,
    reservation: Reservation,
    own = true,
    actual?: readonly number[],
  ): Promise<Answer> => {
    const { claims } = reservation
    let done = true
    let now = 0
    const found = new Map<number, Found>()
    for (const part of partsOf(claims, cluster)) {
      const answering = runPart(operation, part, reservation, own, actual)
      try {
        const answer = await answerWithin(answering, timeoutMs)
        done &&= answer.done
        now = answer.now
        for (const [index, each] of answer.found) found.set(index, each)
      } catch (error) {
        throw failed(error, claims, part)
      }
    }
    return { done, now, found }
  }

  /** With the states of the claims that were not in the partition which refused, as they are now. */
  const othersToo = async ({ claims }: Reservation, refusing: readonly number[], found: ReadonlyMap<number, Found>) => {
    const others = claims.flatMap((_, index) => (refusing.includes(index) ? [] : [index]))
    if (others.length === 0) return found
    const { found: seen } = await ask('peek', {
      id: '',
      claims: others.map((index) => claims[index] as Claim),
      marks: [],
    })
    return new Map([...found, ...others.map((index, place) => [index, seen.get(place)] as const)].filter(isFound))
  }

  /** Each partition in turn; whatever was taken before one that refuses, fails or is late is given back. */
  const takeParts = async (reservation: Reservation): Promise<Answer> => {
    const { id, claims } = reservation
    const taken: Array<{ readonly part: readonly number[]; readonly answer: Answer }> = []
    const giveBack = async (part: readonly number[], answer: Answer) => {
      await runPart('settle', part, { id, claims, marks: marksOf(claims, answer.found) }, true).catch(() => {})
    }
    const found = new Map<number, Found>()
    for (const part of partsOf(claims, cluster)) {
      const answering = runPart('take', part, reservation, true)
      try {
        const answer = await answerWithin(answering, timeoutMs)
        for (const [index, each] of answer.found) found.set(index, each)
        if (!answer.done) {
          await Promise.all(taken.map((each) => giveBack(each.part, each.answer)))
          return { done: false, now: answer.now, found: await othersToo(reservation, part, found) }
        }
        taken.push({ part, answer })
      } catch (error) {
        answering.then(
          (late) => (late.done ? giveBack(part, late) : undefined),
          () => {},
        )
        for (const each of taken) void giveBack(each.part, each.answer)
        throw failed(error, claims, part)
      }
    }
    return { done: true, now: taken.at(-1)?.answer.now ?? 0, found }
  }

  const settle = async (
    reservation: Reservation,
    actual: readonly number[] | undefined,
  ): Promise<readonly ClaimState[]> => {
    const { id, claims } = reservation
    const own = id.startsWith(idPrefix)
    const number = Number(id.slice(idPrefix.length))
    if (own && !(Number.isInteger(number) && number > 0 && number <= reservations)) return []
    // Of another process: only what is still held, as nobody but Redis knows whether it was settled.
    if (own && !settled.settle(number, reservations)) return []
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await ask('settle', reservation, own && attempt === 0, actual)
        return own
          ? shown(
              claims,
              answer,
              () => 0,
              (index) => answer.found.get(index)?.fits === true,
            )
          : []
      } catch (error) {
        if (attempt >= settleRetries || !(error instanceof TollgateError) || error.code !== 'store_unavailable')
          throw error
        await sleep(100 * 2 ** attempt)
      }
    }
  }

  return {
    async take(claims) {
      for (const claim of claims) checkClaim(claim)
      checkKinds(claims)
      reservations += 1
      const id = idPrefix + reservations
      const answer = await takeParts({ id, claims, marks: [] })
      const fits = (index: number) => answer.found.get(index)?.fits === true
      const skipped = new Set(claims.flatMap(({ shadow }, index) => (shadow === true && !fits(index) ? [index] : [])))
      if (!answer.done) {
        return { allowed: false, states: shown(claims, answer, (index) => askedBefore(claims, index, skipped), fits) }
      }
      const states = shown(claims, answer, (index) => (fits(index) ? 0 : askedBefore(claims, index, skipped)), fits)
      return {
        allowed: true,
        states,
        reservation: { id, claims, marks: marksOf(claims, answer.found) },
      } satisfies Verdict
    },
    async settle(reservation, actual) {
      checkActual(reservation.claims, actual)
      return settle(reservation, actual)
    },
    async release(reservation) {
      await settle(reservation, undefined)
    },
    async renew(reservation) {
      return (await ask('renew', reservation)).done
    },
    async peek(claims) {
      for (const claim of claims) checkClaim(claim)
      const answer = await ask('peek', { id: '', claims, marks: [] })
      return shown(
        claims,
        answer,
        () => 0,
        (index) => answer.found.get(index)?.fits === true,
      )
    },
    close() {},
  }
}

/** The states of claims; of one that the answer lacks, as if nothing were used of it. */
function shown(
  claims: readonly Claim[],
  { now, found }: Answer,
  askedOf: (index: number) => number,
  allowedOf: (index: number) => boolean,
): ClaimState[] {
  return claims.map((claim, index) => {
    const [x, y, z] = found.get(index)?.numbers ?? [0, 0, 0]
    const [asked, allowed] = [askedOf(index), allowedOf(index)]
    if (claim.kind === 'bucket') return bucketState(claim, x, asked, allowed)
    if (claim.kind === 'window') return windowState(claim, x, y, asked, allowed, now)
    return leaseState(claim, x, asked, allowed, y, z)
  })
}

function answerOf(reply: unknown, part: readonly number[]): Answer {
  // A client may give texts as bytes.
  const numbers = String(reply).split(' ').map(Number)
  if (numbers.length !== 2 + part.length * perClaim || numbers.some(Number.isNaN)) {
    throw new TypeError('The script answered something that it does not answer.')
  }
  const found = new Map<number, Found>()
  part.forEach((index, place) => {
    const at = 2 + place * perClaim
    const [fits = 0, x = 0, y = 0, z = 0, first = -1, second = 0] = numbers.slice(at, at + perClaim)
    found.set(index, { fits: fits === 1, numbers: [x, y, z], marks: [first, second] })
  })
  return { done: numbers[0] === 1, now: (numbers[1] ?? 0) / 1000, found }
}

function isFound(entry: readonly [number, Found | undefined]): entry is [number, Found] {
  return entry[1] !== undefined
}

function marksOf(claims: readonly Claim[], found: Answer['found']): number[] {
  return claims.flatMap((_, index) => found.get(index)?.marks ?? [-1, 0])
}

/** The places of the claims, by partition where that matters. */
function partsOf(claims: readonly Claim[], spread: boolean): ReadonlyArray<readonly number[]> {
  if (!spread) return [claims.map((_, index) => index)]
  const parts = new Map<string, number[]>()
  claims.forEach(({ partition, key }, index) => {
    const name = partition ?? key
    const part = parts.get(name)
    if (part === undefined) parts.set(name, [index])
    else part.push(index)
  })
  return [...parts.values()]
}

/** One key, one kind: also within one request whose claims go to several places. */
function checkKinds(claims: readonly Claim[]): void {
  for (let index = 1; index < claims.length; index += 1) askedBefore(claims, index)
}

function argumentsOf(claim: Claim): string[] {
  const { limit, shadow } = claim
  const flag = shadow === true ? '1' : '0'
  if (claim.kind === 'lease') return [kinds.lease, String(limit), '1', String(claim.leaseMs), '', '', flag]
  if (claim.kind === 'bucket') {
    const { cost, windowMs, burst = limit } = claim
    return [kinds.bucket, String(limit), String(cost), String(windowMs), String(burst), '', flag]
  }
  const { cost, startsAt, endsAt, holdMs = '' } = claim
  return [kinds.window, String(limit), String(cost), String(startsAt), String(endsAt), String(holdMs), flag]
}

/** All of a partition are on one server of a cluster: what is in braces chooses it. */
function nameOf(prefix: string, { partition, key }: Claim): string {
  return `${prefix}{${safe(partition ?? key)}}:${safe(key)}`
}

/** Any text as a short one without braces; two never become the same. */
function safe(text: string): string {
  if (text.length <= longestName && !loneSurrogate.test(text)) return encodeURIComponent(text)
  return `sha256:${createHash('sha256').update(Buffer.from(text, 'utf16le')).digest('base64url')}`
}

function isClient(value: unknown): boolean {
  const { scripts, evalsha, evalSha, eval: whole } = Object(value) as Record<string, unknown>
  if (typeof scripts === 'object' && scripts !== null) {
    const { evalsha: byDigest, eval: byText } = scripts as Record<string, unknown>
    return typeof byDigest === 'function' && typeof byText === 'function'
  }
  return typeof whole === 'function' && (typeof evalsha === 'function' || typeof evalSha === 'function')
}
