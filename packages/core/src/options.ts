import { type ZodType, z } from 'zod'
import { configInvalid } from './errors.js'
import { fieldErrors } from './wire/parse.js'

/**
 * For factories: the options as their schema reads them, defaults filled in. Everything that is wrong or unknown is told at once; values are
 * never repeated, as one may be a secret.
 *
 * @throws TollgateError `config_invalid`
 * @example const { realm } = checkedOptions('auth', z.strictObject({ realm: z.string().default('api') }), options)
 */
export function checkedOptions<Output>(factory: string, schema: ZodType<Output>, options: unknown): Output {
  const parsed = schema.safeParse(options)
  if (parsed.success) return parsed.data
  const errors = fieldErrors(parsed.error, '', { whole: '', member: 'option' })
  const words = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
  throw configInvalid(`${factory}: ${words.join('; ')}`, errors)
}

/** The schema of an option that is a function. What it takes and returns is the caller's word. */
export function functionOption<Callback>(): z.ZodType<Callback, Callback> {
  return z.custom<Callback>((value) => typeof value === 'function', 'must be a function')
}

/**
 * The schema of an option that is an object of ours or of the caller's making, known by its methods.
 *
 * @param what it is, with its article, for the error: `a LimitStore, for example memoryLimitStore()`
 * @example store: objectOption<LimitStore>('a LimitStore', 'take').optional()
 */
export function objectOption<Value>(
  what: string,
  ...methods: ReadonlyArray<keyof Value & string>
): z.ZodType<Value, Value> {
  return z.custom<Value>(
    (value) => methods.every((method) => typeof (value as Partial<Value> | null | undefined)?.[method] === 'function'),
    `must be ${what}`,
  )
}
