import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { isTollgateError, TollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { holdEnd } from '../http/observe.js'
import { type Branch, dispatching, endBranch, recordAttempt, recordUsage } from '../http/record-usage.js'
import type { AttemptBeside, Call } from '../inference/model.js'
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

/** The option `onDisconnect` of every route over models. */
export const onDisconnectSchema = z.enum(['abort', 'drain']).default('abort')

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
  readonly isHedge: boolean
}

/** Attempts that follow one another, beside others: whom the last of them was sent to. */
interface Lane {
  branch: Branch
  target: Target | undefined
  isHedge: boolean
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

/** A list of RFC 9651: each model that was tried and what came of it, in the order in which that was known; `hedge` marks what went beside another attempt. */
function decisionOf(attempts: readonly Attempt[]): string {
  return attempts
    .map(({ target: { provider, model }, outcome, isHedge }) => {
      const name = `${provider}/${model}`.replace(/[^\x20-\x7e]|["\\]/g, '?')
      return `"${name.slice(0, 256)}";outcome=${outcome}${isHedge ? ';hedge' : ''}`
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
  const own: Lane = { branch: undefined, target: undefined, isHedge: false }
  /** Attempts under way beside the call's own. */
  let beside = 0
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
  const known = ({ target }: Lane): Target => {
    if (target === undefined)
      throw new TollgateError('internal', 'The inference service did not say which model it used.')
    return target
  }
  const recorded = (lane: Lane, usage: Usage) => {
    const upstreamMs = since === undefined ? waitedMs : waitedMs + performance.now() - since
    return { ...known(lane), usage, upstreamMs, branch: lane.branch }
  }
  const record = (usage: Usage) => recordUsage(req, recorded(own, usage))
  const callOf = (lane: Lane): AttemptBeside['call'] => ({
    dispatching(next) {
      lane.target = next
      const asked = dispatching(context, next, lane.branch)
      // What the others think about is not time that the model took.
      const begin = () => {
        if (beside === 0 || since === undefined) start()
      }
      if (asked === undefined) begin()
      else return asked.then(begin)
    },
    spent(usage) {
      recordAttempt(req, recorded(lane, usage))
      if (beside === 0) stop()
    },
    failed(target, error) {
      attempts.push({ target, outcome: outcomeOf(error), isHedge: lane.isHedge })
    },
    outrun(target) {
      attempts.push({ target, outcome: 'outrun', isHedge: lane.isHedge })
    },
    beside() {
      const other: Lane = { branch: Symbol(), target: undefined, isHedge: true }
      beside += 1
      return {
        call: callOf(other),
        end(won) {
          beside -= 1
          endBranch(context, won ? lane.branch : other.branch)
          if (won) Object.assign(lane, other)
        },
      }
    },
  })
  const call: Call = {
    signal: onDisconnect === 'drain' ? drainingSignal(context) : context.signal,
    requestId: context.id,
    ...(context.deadline === undefined ? {} : { deadline: context.deadline }),
    ...(context.principal === undefined ? {} : { principal: context.principal }),
    ...callOf(own),
    flagged(guard, labels) {
      const flags = new Set(context.flags)
      for (const label of labels) if (flags.size < mostFlags) flags.add(`${guard}:${label}`.slice(0, longestFlag))
      context.flags = [...flags]
    },
  }
  /** What was tried, and what came of it: for those who ask, and for the log. */
  const tell = (res: ServerResponse, outcome: string) => {
    const { target, isHedge } = own
    if (target === undefined || (attempts.length === 0 && !wantsDecision(req))) return
    context.decision = decisionOf([...attempts, { target, outcome, isHedge }])
    if (wantsDecision(req) && !res.headersSent) res.setHeader(decisionHeader, context.decision)
  }
  return { call, target: () => known(own), start, stop, waitedMs: () => waitedMs, record, tell }
}
