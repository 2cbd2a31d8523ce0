import { createHmac, randomUUID } from 'node:crypto'
import { z } from 'zod'
import { checkedOptions, functionOption } from './options.js'

export interface WebhookSenderOptions {
  /** Where messages go: `https:`, or `http:` on this host. It is yours: it is not checked against networks inside. */
  readonly url: string | URL
  /** `whsec_` and base64 of 24 to 64 bytes (Standard Webhooks). Several while one replaces another: each message is signed by all. */
  readonly secrets: readonly string[]
  /** How long an attempt may take, milliseconds. Default 15,000. */
  readonly timeoutMs?: number
  /** Messages that wait; more are lost, and told. Default 1,000. */
  readonly maxWaiting?: number
  /** After which times an attempt is made again, milliseconds. Default 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours. */
  readonly retriesMs?: readonly number[]
  /** Told of failed attempts and lost messages. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Default: the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** Sends messages behind whoever has them. */
export interface WebhookSender {
  /** Takes a message; returns at once. `type` is a word with dots (`limit.threshold`), `data` at most 20 KB of JSON. */
  send(type: string, data: Readonly<Record<string, unknown>>): void
  /** Waits for attempts that are under way, for `withinMs` at most (default 5,000). What still waits is lost. */
  close(withinMs?: number): Promise<void>
}

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const defaultRetries = [
  5 * second,
  5 * minute,
  30 * minute,
  2 * hour,
  5 * hour,
  10 * hour,
  14 * hour,
  20 * hour,
  24 * hour,
]
const mostBytes = 20_480

const schema = z.strictObject({
  url: z
    .union([z.url(), z.instanceof(URL)], 'must be a URL')
    .transform((url) => new URL(url))
    .refine(
      ({ protocol, hostname }) =>
        protocol === 'https:' || (protocol === 'http:' && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)),
      'must be https: (http: on this host only)',
    ),
  secrets: z
    .array(
      z
        .string()
        .regex(/^whsec_[A-Za-z0-9+/]+={0,2}$/, 'must be whsec_ and base64')
        .transform((text) => Buffer.from(text.slice(6), 'base64'))
        .refine(({ length }) => length >= 24 && length <= 64, 'must have 24 to 64 bytes'),
    )
    .min(1),
  timeoutMs: z.int().min(1).max(60_000).default(15_000),
  maxWaiting: z.int().min(1).default(1_000),
  retriesMs: z.array(z.int().min(0)).default(defaultRetries),
  onError: functionOption<(error: unknown) => void>().default(() => warn),
  fetch: functionOption<typeof globalThis.fetch>().optional(),
  now: functionOption<() => number>().default(() => Date.now),
})

interface Message {
  readonly id: string
  readonly body: string
  attempts: number
  dueAt: number
}

/**
 * Messages by POST, signed as Standard Webhooks has it: `webhook-id` (the same over all attempts), `webhook-timestamp` (of the attempt), `webhook-signature: v1,…`. Success is 2xx; 410 ends a message; anything else is tried again. One attempt at a
 * time, in the order in which they are due; kept in memory.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example const sender = webhookSender({ url: 'https://ops.example.com/hooks', secrets: [process.env.WEBHOOK_SECRET] })
 */
export function webhookSender(options: WebhookSenderOptions): WebhookSender {
  const settings = checkedOptions('webhookSender', schema, options)
  const { url, secrets, timeoutMs, maxWaiting, retriesMs, onError, now } = settings
  const fetch = settings.fetch ?? globalThis.fetch
  const waiting: Message[] = []
  let timer: NodeJS.Timeout | undefined
  let sending: Promise<void> | undefined
  let closed = false

  const attempt = async (message: Message): Promise<void> => {
    const { id, body } = message
    const timestamp = String(Math.floor(now() / 1000))
    const signature = secrets
      .map((secret) => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
      .join(' ')
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': signature,
      },
      body,
    })
    await response.body?.cancel()
    if (response.status === 410) message.attempts = Number.POSITIVE_INFINITY
    if (!response.ok) throw new Error(`The webhook answered ${response.status}.`)
  }

  const sendDue = async (): Promise<void> => {
    for (let message = due(); message !== undefined && !closed; message = due()) {
      message.attempts += 1
      try {
        await attempt(message)
        waiting.splice(waiting.indexOf(message), 1)
      } catch (error) {
        const pauseMs = retriesMs[message.attempts - 1]
        if (pauseMs === undefined) waiting.splice(waiting.indexOf(message), 1)
        else message.dueAt = now() + pauseMs * (1 + Math.random() * 0.1)
        onError(pauseMs === undefined ? new Error('A webhook message is given up.', { cause: error }) : error)
      }
    }
  }
  const due = (): Message | undefined => waiting.find(({ dueAt }) => dueAt <= now())
  const wake = (): void => {
    clearTimeout(timer)
    if (closed || sending !== undefined || waiting.length === 0) return
    const next = Math.min(...waiting.map(({ dueAt }) => dueAt))
    timer = setTimeout(
      () => {
        sending = sendDue().finally(() => {
          sending = undefined
          wake()
        })
      },
      Math.min(Math.max(0, next - now()), hour),
    ).unref()
  }

  return {
    send(type, data) {
      const body = JSON.stringify({ type, timestamp: new Date(now()).toISOString(), data })
      if (closed || waiting.length >= maxWaiting || Buffer.byteLength(body) > mostBytes) {
        onError(
          new Error(
            `A webhook message of type ${type} is lost: ${closed ? 'closed' : waiting.length >= maxWaiting ? `${maxWaiting} wait` : 'over 20 KB'}.`,
          ),
        )
        return
      }
      waiting.push({ id: `msg_${randomUUID()}`, body, attempts: 0, dueAt: now() })
      wake()
    },
    async close(withinMs = 5_000) {
      closed = true
      clearTimeout(timer)
      let limit: NodeJS.Timeout | undefined
      await Promise.race([sending, new Promise((resolve) => (limit = setTimeout(resolve, withinMs)))])
      clearTimeout(limit)
    },
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}
