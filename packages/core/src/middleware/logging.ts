import type { IncomingMessage } from 'node:http'
import { type DestinationStream, pino } from 'pino'
import { z } from 'zod'
import type { Log, RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { type ContentCapture, captureContent } from './log-content.js'
import { logLine } from './log-line.js'

/** What a line is logged at; `silent` leaves it out. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A logger of your own; pino's fit. With `child`, `context.log` is one that knows the request id. */
export interface Logger extends Log {
  child?(bindings: Record<string, unknown>): Log
}

/** Options of {@link logging}. */
export interface LoggingOptions {
  /** Default: a pino logger that writes JSON lines to `destination`. */
  readonly logger?: Logger
  /** Where the default logger writes. Default: standard output, without blocking, flushed when the process exits. */
  readonly destination?: { write(line: string): void }
  /** The least level that the default logger writes. Default `info`. */
  readonly level?: Exclude<LogLevel, 'silent'>
  /** The level of a request's line. Default: `error` from 500, `warn` from 400, else `info`; a caller that left is `info`. */
  readonly levelOf?: (status: number, context: RequestContext) => LogLevel
  /** The request headers that are logged. Default `user-agent`, `content-type`, `content-length`, `x-stainless-retry-count`. Credentials are refused. */
  readonly headers?: readonly string[]
  /** Logs what model calls said: request and answer, to this many bytes each (`true`: 16,384). Default false. */
  readonly content?: boolean | { readonly maxBytes: number }
}

/** The middleware, and a way to have everything written before the process ends. */
export interface Logging extends Handler {
  /** Writes what the default logger still holds. Nothing to do for a logger of your own. */
  flush(): void
  /** For what belongs to no request. */
  readonly log: Log
}

const neverLogged = [
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'x-amz-security-token',
  'sec-websocket-protocol',
]

const optionsSchema = z.strictObject({
  logger: objectOption<Logger>(
    'a logger with debug(), info(), warn() and error()',
    'debug',
    'info',
    'warn',
    'error',
  ).optional(),
  destination: objectOption<DestinationStream>('an object with write()', 'write').optional(),
  level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  levelOf: functionOption<(status: number, context: RequestContext) => LogLevel>().default(() => levelByStatus),
  headers: z
    .array(
      z
        .string()
        .toLowerCase()
        .refine((name) => !neverLogged.includes(name), 'carries credentials, which are never logged: leave it out'),
    )
    .readonly()
    .default(['user-agent', 'content-type', 'content-length', 'x-stainless-retry-count']),
  content: z.union([z.boolean(), z.strictObject({ maxBytes: z.int().min(1) })]).default(false),
})

const loggedKey = Symbol.for('tollgate.logging.logged')

/**
 * Writes one JSON line per request, when it has ended. Mount it first, beside `metrics()`.
 *
 * No header that is not on the list, no query, and no prompt or completion unless `content` is switched on. Writes the slot `log`, a logger that
 * knows the request id; reads all others.
 *
 * @example app.use(logging({ headers: ['user-agent', 'x-tenant-hint'] }))
 * @throws TollgateError `config_invalid` for wrong options
 */
export function logging(options: LoggingOptions = {}): Logging {
  const {
    logger: given,
    destination: stream,
    level,
    levelOf,
    headers,
    content,
  } = checkedOptions('logging', optionsSchema, options)
  const destination = given === undefined && stream === undefined ? pino.destination({ fd: 1, sync: false }) : undefined
  const logger: Logger = given ?? pino({ level, base: null }, stream ?? destination ?? process.stdout)
  const maxContentBytes = content === false ? 0 : content === true ? 16_384 : content.maxBytes

  const handler = middleware('logging', (context, req, res) => {
    const logged = context as RequestContext & { [loggedKey]?: true }
    // Mounted twice, a request is still one line.
    if (logged[loggedKey]) return
    logged[loggedKey] = true
    context.log = new RequestLog(logger, context.id)
    const captured = maxContentBytes > 0 ? captureContent(res, maxContentBytes) : undefined
    onEnd(req, res, (end) => write(context, req, end, captured))
  })

  const write = (context: RequestContext, req: IncomingMessage, end: RequestEnd, captured?: ContentCapture): void => {
    const lineLevel = levelOf(end.status, context)
    if (lineLevel === 'silent') return
    const line = logLine(context, req, end, headers)
    // Only what went to a model: other bodies may hold passwords.
    if (captured !== undefined && context.target !== undefined) Object.assign(line, captured.fields(req))
    logger[lineLevel](line, 'request')
  }

  return Object.assign(handler, { flush: () => destination?.flushSync(), log: logger })
}

function levelByStatus(status: number): LogLevel {
  if (status >= 500) return 'error'
  return status >= 400 && status !== 499 ? 'warn' : 'info'
}

/** A logger with the request id, made when it is first used: most requests never do. A class, so that a request costs one object and no closures. */
class RequestLog implements Log {
  readonly #logger: Logger
  readonly #requestId: string
  #child: Log | undefined

  constructor(logger: Logger, requestId: string) {
    this.#logger = logger
    this.#requestId = requestId
  }

  debug(fields: object, message?: string): void {
    this.#log().debug(fields, message)
  }

  info(fields: object, message?: string): void {
    this.#log().info(fields, message)
  }

  warn(fields: object, message?: string): void {
    this.#log().warn(fields, message)
  }

  error(fields: object, message?: string): void {
    this.#log().error(fields, message)
  }

  #log(): Log {
    this.#child ??= this.#logger.child?.({ request_id: this.#requestId }) ?? withFields(this.#logger, this.#requestId)
    return this.#child
  }
}

function withFields(logger: Logger, requestId: string): Log {
  const at = (level: keyof Log) => (fields: object, message?: string) =>
    logger[level]({ request_id: requestId, ...fields }, message)
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
