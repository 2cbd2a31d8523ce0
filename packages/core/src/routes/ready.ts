import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import { checkedOptions, functionOption } from '../options.js'
import { answerWithin } from '../stores/answer-within.js'
import type { Readiness } from '../wire/health.js'

/** Options of {@link readiness}. */
export interface ReadinessOptions {
  /** What must have happened once before requests are taken, by name: models loaded, migrations run. Called at once, when this is made. */
  readonly waitFor?: Readonly<Record<string, () => unknown>>
  /** What must hold at every moment, by name; asked at every `GET /ready`. Throwing, rejecting or `false` is a failure. */
  readonly checks?: Readonly<Record<string, () => unknown>>
  /** A check that takes longer has failed. Milliseconds. Default 2,000. */
  readonly checkTimeoutMs?: number
  /** Told when something of that name begins to fail; callers are shown the name only. Default: a process warning. */
  readonly onFailure?: (name: string, error: unknown) => void
}

/** Whether this process takes requests. */
export interface ReadinessState {
  /** Set it when the process is about to end, some seconds before the server closes: load balancers then stop sending. */
  draining: boolean
  /** Runs the checks (once for all who ask meanwhile). */
  read(): Promise<Readiness>
}

type Check = Readiness['checks'][string]

const functions = z.record(z.string(), functionOption<() => unknown>())
const onlyGet = allowedMethods('GET')

const optionsSchema = z.strictObject({
  waitFor: functions.default({}),
  checks: functions.default({}),
  checkTimeoutMs: z.int().min(1).max(60_000).default(2_000),
  onFailure: functionOption<(name: string, error: unknown) => void>().default(() => warn),
})

/**
 * Makes the state that {@link readyRoute} tells.
 *
 * @example
 * const ready = readiness({ waitFor: { models: () => provider.ready?.() }, checks: { database: () => pool.query('select 1') } })
 * app.use('/ready', readyRoute(ready))
 * process.once('SIGTERM', () => { ready.draining = true })
 * @throws TollgateError `config_invalid` for wrong options
 */
export function readiness(options: ReadinessOptions = {}): ReadinessState {
  const { waitFor, checks, checkTimeoutMs, onFailure } = checkedOptions('readiness', optionsSchema, options)
  const failing = new Set<string>()
  const outcome = async (name: string, result: () => unknown): Promise<[string, Check]> => {
    try {
      if ((await result()) === false) throw new Error('It returned false.')
      failing.delete(name)
      return [name, 'ok']
    } catch (error) {
      if (!failing.has(name)) onFailure(name, error)
      failing.add(name)
      return [name, 'failed']
    }
  }

  const once = new Map<string, Check>()
  for (const [name, begin] of Object.entries(waitFor)) {
    once.set(name, 'pending')
    void outcome(name, begin).then(([, check]) => once.set(name, check))
  }

  let asking: Promise<Array<[string, Check]>> | undefined
  const ask = (): Promise<Array<[string, Check]>> => {
    asking ??= Promise.all(
      Object.entries(checks).map(([name, check]) => outcome(name, () => answerWithin(begun(check), checkTimeoutMs))),
    ).finally(() => {
      asking = undefined
    })
    return asking
  }

  return {
    draining: false,
    async read() {
      const all = Object.fromEntries([...once, ...(await ask())])
      const found = new Set(Object.values(all))
      const status: Readiness['status'] = this.draining
        ? 'draining'
        : found.has('failed')
          ? 'failed'
          : found.has('pending')
            ? 'loading'
            : 'ready'
      return { status, checks: all }
    },
  }
}

/**
 * `GET /ready`: 200 when the process takes requests; 503 while models load, while it drains, and when a check fails. The body says which.
 *
 * Writes the slot `route`.
 *
 * @throws TollgateError `method_not_allowed`
 */
export function readyRoute(state: ReadinessState): Handler {
  return endpoint('readyRoute', async (context, req, res) => {
    context.route ??= '/ready'
    onlyGet(req)
    const body = await state.read()
    sendJson(res, body.status === 'ready' ? 200 : 503, body, noStore)
  })
}

/** A check that throws at once is a promise that rejects. */
async function begun(check: () => unknown): Promise<unknown> {
  return check()
}

// Why a check failed may name hosts and users: that is for whoever runs the server.
function warn(name: string, error: unknown): void {
  process.emitWarning(`Not ready: ${name}: ${error instanceof Error ? error.message : String(error)}`)
}
