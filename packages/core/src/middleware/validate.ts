import type { IncomingMessage } from 'node:http'
import { type ZodType, z } from 'zod'
import { configInvalid, type FieldError, isTollgateError } from '../errors.js'
import { jsonBody } from '../http/body.js'
import { type Handler, middleware } from '../http/handler.js'
import { urlOf } from '../http/route-template.js'
import { checkedOptions, objectOption } from '../options.js'
import { invalidRequest, parseWith } from '../wire/parse.js'

/** What {@link validate} checks: a zod schema for each part of the request that matters. */
export interface RequestSchemas {
  /** The JSON body. */
  readonly body?: ZodType
  /** The query: strings by name, an array of strings where a name is repeated. Use `z.coerce` for numbers. */
  readonly query?: ZodType
  /** Parameters of the route (`/users/:id`), where the host's router knows them. */
  readonly params?: ZodType
}

/** The parts as their schemas read them. */
export type ValidRequest<Schemas extends RequestSchemas> = {
  readonly [Part in keyof Schemas]: Schemas[Part] extends ZodType<infer Output> ? Output : never
}

/** A handler, and the way to what it has read. */
export interface Validate<Schemas extends RequestSchemas> extends Handler {
  /** The parts of this request, typed. Throws `config_invalid` where this handler has not run. */
  of(req: IncomingMessage): ValidRequest<Schemas>
}

const schema = objectOption<ZodType>('a zod schema', 'safeParse')
const optionsSchema = z.strictObject({ body: schema.optional(), query: schema.optional(), params: schema.optional() })

/**
 * Checks a request before its handler runs, and hands it on typed. Every field that is wrong is named, of all parts at once: `messages[0].role`
 * in the body, `query.limit`, `params.id`. `req.body`, `req.query` and `req.params` stay as they are (Express 5 lets nobody assign `req.query`).
 * Schemas are run synchronously.
 *
 * @example
 * const input = validate({ body: z.strictObject({ text: z.string().max(5_000) }) })
 * app.post('/analyze', input, (req, res) => res.json(analyze(input.of(req).body.text)))
 * @throws TollgateError `invalid_request`, and what `jsonBody` throws; `config_invalid` for wrong options
 */
export function validate<const Schemas extends RequestSchemas>(schemas: Schemas): Validate<Schemas> {
  const { body, query, params } = checkedOptions('validate', optionsSchema, schemas)
  const valid = new WeakMap<IncomingMessage, ValidRequest<Schemas>>()

  const handler = middleware('validate', (_context, req) => {
    if (body === undefined) check(req, undefined)
    else return jsonBody(req).then((value) => check(req, value))
  })
  const check = (req: IncomingMessage, value: unknown): void => {
    const errors: FieldError[] = []
    const read = (part: ZodType | undefined, prefix: string, given: () => unknown): unknown => {
      if (part === undefined) return undefined
      try {
        return parseWith(part, given(), prefix)
      } catch (error) {
        if (!isTollgateError(error, 'invalid_request')) throw error
        errors.push(...(error.errors ?? []))
        return undefined
      }
    }
    const parts = {
      ...(params === undefined ? {} : { params: read(params, 'params', () => paramsOf(req)) }),
      ...(query === undefined ? {} : { query: read(query, 'query', () => queryOf(req)) }),
      ...(body === undefined ? {} : { body: read(body, '', () => value) }),
    }
    if (errors.length > 0) throw invalidRequest(errors)
    // The schemas have just made it so.
    valid.set(req, parts as ValidRequest<Schemas>)
  }

  return Object.assign(handler, {
    of(req: IncomingMessage): ValidRequest<Schemas> {
      const parts = valid.get(req)
      if (parts === undefined)
        throw configInvalid('validate() has not run: mount it before the handler that reads from it.')
      return parts
    },
  })
}

function paramsOf(req: IncomingMessage): unknown {
  return (req as { params?: unknown }).params ?? {}
}

function queryOf(req: IncomingMessage): Record<string, string | string[]> {
  const url = urlOf(req)
  const start = url.indexOf('?')
  // No prototype: `__proto__` is a name like any other.
  const query: Record<string, string | string[]> = Object.create(null)
  if (start === -1) return query
  for (const [name, value] of new URLSearchParams(url.slice(start))) {
    const known = query[name]
    if (known === undefined) query[name] = value
    else if (typeof known === 'string') query[name] = [known, value]
    else known.push(value)
  }
  return query
}
