import { AsyncLocalStorage } from 'node:async_hooks'
import { hash } from 'node:crypto'
import { z } from 'zod'
import { configInvalid, TollgateError } from '../errors.js'
import { targetOf } from '../inference/call.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import { inferenceService } from '../inference/service.js'
import { inOurWords, streamOf } from '../inference/service-stream.js'
import type { GenerateInput, Part, Task, Tasks } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { type Principal, principalKey } from '../principal.js'
import type { Target } from '../target.js'
import { addUsage, noUsage, type Usage } from '../usage.js'
import { passesOnce } from './passes-once.js'

/** What became of a shadow, beside what the caller was answered. */
export interface ShadowResult<T extends Task = Task> {
  /** `dropped`: too many were under way, and it was not sent. */
  readonly outcome: 'ok' | 'failed' | 'dropped'
  readonly requestId: string
  readonly principal?: Principal
  /** Whom the shadow was sent to last. */
  readonly target: Target
  /** Of all its attempts. */
  readonly usage: Usage
  readonly latencyMs: number
  readonly output?: Tasks[T]['output']
  readonly error?: unknown
  /** What the caller was answered; with its `output` where that was no stream. */
  readonly answered: { readonly usage: Usage; readonly latencyMs: number; readonly output?: Tasks[T]['output'] }
}

export interface ShadowOptions<T extends Task> {
  /** Whom the shadows are sent to. */
  readonly to: Model<T>
  /** Of the calls that are answered, 0 to 1. */
  readonly share: number
  /** Always or never the same caller, instead of by lot. */
  readonly sticky?: 'principal'
  /** Shadows under way at once; more are dropped. Default 10. */
  readonly maxConcurrent?: number
  /** For a shadow with all its attempts, milliseconds. Default 60,000. */
  readonly timeoutMs?: number
  /** How long `close` waits for those under way, milliseconds. Default 5,000. */
  readonly drainMs?: number
  /** Told what became of each. */
  readonly onResult?: (result: ShadowResult<T>) => void | Promise<void>
  /** 0 to 1. Default `Math.random`. */
  readonly random?: () => number
}

/** A model with shadows, to be closed. */
export interface ShadowedModel<T extends Task> extends Model<T> {
  /** Sends no more shadows. Resolves when those under way are over; they are stopped after `drainMs`. */
  close(): Promise<void>
}

/** What of it can be written as data. */
export const shadowSettings = z.strictObject({
  share: z.number().min(0).max(1).describe('Part of the answered calls that has a shadow, 0 to 1.'),
  sticky: z
    .literal('principal')
    .optional()
    .describe('`principal`: the same callers always or never, instead of by lot.'),
  maxConcurrent: z
    .int()
    .min(1)
    .max(10_000)
    .default(10)
    .describe('Shadows under way at once. More are dropped, and counted.'),
  timeoutMs: z
    .int()
    .min(1)
    .max(3_600_000)
    .default(60_000)
    .describe('Milliseconds that a shadow may take, all its attempts together.'),
  drainMs: z
    .int()
    .min(0)
    .max(3_600_000)
    .default(5_000)
    .describe(
      'Milliseconds for which the end of the server, or a change of the configuration, waits for those under way.',
    ),
})
const schema = shadowSettings.extend({
  to: objectOption<Model>('a model of a provider', 'run'),
  onResult: functionOption<(result: ShadowResult<never>) => void | Promise<void>>().optional(),
  random: functionOption<() => number>().default(() => Math.random),
})

/**
 * Sends a share of the calls to another model too, to see how that does: after they were answered, so that a call which was refused, failed or left has no shadow, and nothing waits for one. The shadow has a deadline of
 * its own. Nobody is asked about it and nobody is billed: what it used is told to `onResult` alone.
 *
 * @throws TollgateError `config_invalid`; its models nothing but what the model throws
 * @example shadowed(openai.model('generate', 'gpt-4o'), { to: vllm.model('generate', 'llama-3'), share: 0.05, onResult: shadowReports({ registry }) })
 */
export function shadowed<T extends Task>(model: Model<T>, options: ShadowOptions<T>): ShadowedModel<T> {
  const checked = checkedOptions('shadowed', schema, options)
  const { share, sticky, maxConcurrent, timeoutMs, drainMs, random } = checked
  const { to, onResult } = options
  if (to.task !== model.task) throw configInvalid('shadowed: to must do the same task.')
  const { provider, model: id } = targetOf(to)
  // Its deadline, and what it has used when that passes, are a service's to see to.
  const service = inferenceService({ providers: [{ name: 'shadow', model: () => to as never }], timeoutMs })
  // What is begun within a request would keep all of that request's context alive.
  const outside = AsyncLocalStorage.snapshot()
  const stopping = new AbortController()
  let underWay = 0
  let isClosed = false
  let idle = () => {}
  let closing: Promise<void> | undefined

  const isChosen = (input: Tasks[T]['input'], { principal }: Call): boolean => {
    if (isClosed || passesOnce(input)) return false
    if (sticky === undefined || principal === undefined) return random() < share
    const digest = hash('sha256', `${provider}/${id}\n${principalKey(principal)}`, 'buffer')
    return digest.readUIntBE(0, 6) / 2 ** 48 < share
  }
  const tell = async (result: ShadowResult<T>): Promise<void> => {
    try {
      await onResult?.(result)
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
  const send = async (
    input: () => Tasks[T]['input'],
    { requestId, principal }: Call,
    answered: ShadowResult<T>['answered'],
  ): Promise<void> => {
    let target = targetOf(to)
    let usage = noUsage
    const begunAt = performance.now()
    const about = () => ({
      requestId,
      ...(principal === undefined ? {} : { principal }),
      target,
      usage,
      latencyMs: performance.now() - begunAt,
      answered,
    })
    if (isClosed || underWay >= maxConcurrent) return tell({ outcome: 'dropped', ...about() })
    underWay += 1
    try {
      const result = await service.run(to.task, 'shadow', input(), {
        signal: stopping.signal,
        requestId,
        // Whoever waits for an answer goes first.
        priority: Number.MIN_SAFE_INTEGER,
        ...(principal === undefined ? {} : { principal }),
        dispatching(next) {
          target = next
        },
        spent(spent) {
          usage = addUsage(usage, spent)
        },
      })
      usage = addUsage(usage, result.usage)
      void tell({ outcome: 'ok', ...about(), output: result.output })
    } catch (error) {
      void tell({ outcome: 'failed', ...about(), error })
    }
    underWay -= 1
    if (underWay === 0) idle()
  }
  const begin = (...given: Parameters<typeof send>): void => outside(() => void setImmediate(() => void send(...given)))

  return {
    ...model,
    async run(input, call) {
      if (!isChosen(input, call)) return model.run(input, call)
      const begunAt = performance.now()
      const result = await model.run(input, call)
      const { usage, output } = result
      begin(() => input, call, { usage, output, latencyMs: performance.now() - begunAt })
      return result
    },
    stream(input, call) {
      const stream = streamOf(model, input, call)
      if (!isChosen(input, call)) return stream
      const ended = (usage: Usage, latencyMs: number) => {
        // The caller's own words ask for a stream; the shadow answers as a whole.
        const whole = () => inOurWords(input as GenerateInput) as Tasks[T]['input']
        begin(whole, call, { usage, latencyMs })
      }
      return { usageSoFar: () => stream.usageSoFar(), [Symbol.asyncIterator]: () => toldParts(stream, ended) }
    },
    close() {
      isClosed = true
      closing ??= over().then(() => service.close())
      return closing
    },
  }

  async function over(): Promise<void> {
    if (underWay === 0) return
    const stop = () => stopping.abort(new TollgateError('client_closed', 'The service is closing.'))
    const timer = setTimeout(stop, drainMs)
    await new Promise<void>((resolve) => {
      idle = resolve
    })
    clearTimeout(timer)
  }
}

async function* toldParts<T extends Task>(
  stream: ModelStream<T>,
  ended: (usage: Usage, latencyMs: number) => void,
): AsyncGenerator<Part<T>> {
  const begunAt = performance.now()
  for await (const part of stream) {
    if (part.type === 'end') ended(part.usage, performance.now() - begunAt)
    yield part
  }
}
