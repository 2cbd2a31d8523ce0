import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { isTollgateError, TollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { holdEnd } from '../http/observe.js'
import { dispatching, recordAttempt, recordUsage } from '../http/record-usage.js'
import type { Call } from '../inference/model.js'
import type { InferenceService } from '../inference/service.js'
import type { Part, Result, Task, Tasks } from '../inference/task.js'
import { objectOption } from '../options.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'

/** The option `service` of every route over models. */
export const serviceSchema = objectOption<InferenceService>('an inferenceService()', 'run', 'stream')

/** The option `body` of every route that reads one. */
export const bodyOptionsSchema = z.strictObject({
  maxBytes: z.int().min(1).optional(),
  timeoutMs: z.int().min(1).optional(),
})

/**
 * What becomes of a call whose caller leaves: `abort` stops it, and what it used until then is estimated; `drain` lets it come to its end, 50 seconds at most, so that what is billed is what the provider says.
 */
export type OnDisconnect = 'abort' | 'drain'

/** An end-of-request event waits for a minute at most. */
const longestDrainMs = 50_000

/** A model's whole answer, and which model it was. */
export interface Answered<T extends Task> {
  readonly result: Result<T>
  readonly target: Target
  /** Milliseconds spent waiting for the model. */
  readonly latencyMs: number
}

/**
 * Runs a model for an HTTP request: the caller's leaving and the request's deadline stop it, everyone who has a say is asked before it is
 * sent, and what it used is recorded before this resolves, so that the answer can tell its cost; also when it was stopped half way.
 */
export async function invoke<T extends Task>(
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  service: InferenceService,
  task: T,
  model: string | undefined,
  input: Tasks[T]['input'],
  onDisconnect: OnDisconnect = 'abort',
): Promise<Answered<T>> {
  const meter = meterOf(context, req, onDisconnect)
  const release = holdEnd(req, res)
  try {
    const result = await service.run(task, model, input, meter.call)
    meter.stop()
    meter.record(result.usage)
    meter.tell(res, 'ok')
    return { result, target: meter.target(), latencyMs: meter.waitedMs() }
  } catch (error) {
    meter.tell(res, outcomeOf(error))
    throw error
  } finally {
    release()
  }
}

/** A model's answer that comes in parts. `parts` is used up by one `for await`. */
export interface AnsweredStream<T extends Task> {
  readonly target: Target
  readonly parts: AsyncIterable<Part<T>>
}

/**
 * Like {@link invoke}, for a stream. Resolves when the first part is here, so that an error before it can still be told by a status;
 * `work` then sends the parts on. Usage is recorded before `work` sees the end part, or when the stream was cut or left, and the
 * end-of-request event waits for that.
 */
export async function invokeStream<T extends Task>(
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  service: InferenceService,
  task: T,
  model: string | undefined,
  input: Tasks[T]['input'],
  work: (answered: AnsweredStream<T>) => Promise<void>,
  onDisconnect: OnDisconnect = 'abort',
): Promise<void> {
  const meter = meterOf(context, req, onDisconnect)
  const release = holdEnd(req, res)
  const iterator = service.stream(task, model, input, meter.call)[Symbol.asyncIterator]()
  const arrived = (part: IteratorResult<Part<T>>) => {
    meter.stop()
    if (part.done !== true && part.value.type === 'end') meter.record(part.value.usage)
    return part
  }
  const next = (): Promise<IteratorResult<Part<T>>> => {
    meter.start()
    return iterator.next().then(arrived)
  }
  try {
    const first = await next().catch((error: unknown) => {
      meter.tell(res, outcomeOf(error))
      throw error
    })
    meter.tell(res, 'ok')
    let begun = false
    const parts: AsyncIterable<Part<T>> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          if (begun) return next()
          begun = true
          return Promise.resolve(first)
        },
        return: async () => {
          await iterator.return?.()
          return { done: true, value: undefined }
        },
      }),
    }
    await work({ target: meter.target(), parts })
  } finally {
    await iterator.return?.()
    release()
  }
}

/** The call, and the clock and the till that go with it. */
interface Meter {
  readonly call: Call
  target(): Target
  /** Waiting for the model, from here … */
  start(): void
  /** … to here. */
  stop(): void
  waitedMs(): number
  record(usage: Usage): void
  /** What was tried, and what came of the last. */
  tell(res: ServerResponse, outcome: string): void
}

/** Of one request; and characters. */
const mostFlags = 32
const longestFlag = 128

interface Attempt {
  readonly target: Target
  readonly outcome: string
}

function outcomeOf(error: unknown): string {
  return isTollgateError(error) ? error.code : 'internal'
}

const decisionHeader = 'x-tollgate-decision'

/** Any value but nothing and 0 asks for it. */
function wantsDecision({ headers }: IncomingMessage): boolean {
  const asked = headers[decisionHeader]
  return asked !== undefined && asked !== '' && asked !== '0'
}

/** A list of RFC 9651: each model that was tried, in their order, and what came of it. */
function decisionOf(attempts: readonly Attempt[]): string {
  return attempts
    .map(({ target: { provider, model }, outcome }) => {
      const name = `${provider}/${model}`.replace(/[^\x20-\x7e]|["\\]/g, '?')
      return `"${name.slice(0, 256)}";outcome=${outcome}`
    })
    .join(', ')
}

/** Aborts as the request does, but not at once because its caller has left. */
function drainingSignal({ signal }: RequestContext): AbortSignal {
  const controller = new AbortController()
  const ended = () => {
    if (!isTollgateError(signal.reason, 'client_closed')) {
      controller.abort(signal.reason)
      return
    }
    setTimeout(() => controller.abort(signal.reason), longestDrainMs).unref()
  }
  if (signal.aborted) ended()
  else signal.addEventListener('abort', ended, { once: true })
  return controller.signal
}

function meterOf(context: RequestContext, req: IncomingMessage, onDisconnect: OnDisconnect): Meter {
  let target: Target | undefined
  let waitedMs = 0
  let since: number | undefined
  const attempts: Attempt[] = []
  const start = () => {
    since = performance.now()
  }
  const stop = () => {
    if (since !== undefined) waitedMs += performance.now() - since
    since = undefined
  }
  const known = (): Target => {
    if (target === undefined)
      throw new TollgateError('internal', 'The inference service did not say which model it used.')
    return target
  }
  const record = (usage: Usage) => recordUsage(req, { ...known(), usage, upstreamMs: waitedMs })
  const call: Call = {
    signal: onDisconnect === 'drain' ? drainingSignal(context) : context.signal,
    requestId: context.id,
    ...(context.deadline === undefined ? {} : { deadline: context.deadline }),
    ...(context.principal === undefined ? {} : { principal: context.principal }),
    dispatching(next: Target) {
      target = next
      const asked = dispatching(context, next)
      // What the others think about is not time that the model took.
      if (asked === undefined) start()
      else return asked.then(start)
    },
    spent(usage) {
      stop()
      recordAttempt(req, { ...known(), usage, upstreamMs: waitedMs })
    },
    flagged(guard, labels) {
      const flags = new Set(context.flags)
      for (const label of labels) if (flags.size < mostFlags) flags.add(`${guard}:${label}`.slice(0, longestFlag))
      context.flags = [...flags]
    },
    failed(failedTarget, error) {
      attempts.push({ target: failedTarget, outcome: outcomeOf(error) })
    },
  }
  /** What was tried, and what came of it: for those who ask, and for the log. */
  const tell = (res: ServerResponse, outcome: string) => {
    if (target === undefined || (attempts.length === 0 && !wantsDecision(req))) return
    context.decision = decisionOf([...attempts, { target, outcome }])
    if (wantsDecision(req) && !res.headersSent) res.setHeader(decisionHeader, context.decision)
  }
  return { call, target: known, start, stop, waitedMs: () => waitedMs, record, tell }
}
