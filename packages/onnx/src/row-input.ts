import { type FieldError, TollgateError } from '@tollgate/core/errors'
import { z } from 'zod'
import type { OnnxManifest } from './manifest.js'
import type { WorkerInput } from './worker-protocol.js'

/** Checks the rows of a call and turns them into what the worker takes. */
export interface RowInput {
  /** JSON Schema of one row. */
  readonly schema: Readonly<Record<string, unknown>>
  /** @throws TollgateError `invalid_request` naming each wrong field, such as `instances[3].features[1]` (the first twenty) */
  read(rows: readonly unknown[]): WorkerInput
}

/** The largest number that float32 holds; over it, a feature would become Infinity and the answer nonsense. */
const MAX_FLOAT32 = 3.4028234663852886e38
const MAX_ERRORS = 20

/** `['instances', 3, 'features', 1]` as code would write it. */
function pathOf(row: number, segments: readonly PropertyKey[]): string {
  const inside = segments.map((segment) => (typeof segment === 'number' ? `[${segment}]` : `.${String(segment)}`))
  return `instances[${row}]${inside.join('')}`
}

function refuse(errors: readonly FieldError[]): TollgateError {
  const [first] = errors
  return new TollgateError('invalid_request', `${first?.path}: ${first?.message}`, {
    errors: errors.slice(0, MAX_ERRORS),
  })
}

/** All rows through one schema, or every complaint about them. */
function parseRows<Row>(schema: z.ZodType<Row>, rows: readonly unknown[], maxRows: number): Row[] {
  if (rows.length > maxRows) {
    const message = `expected at most ${maxRows} rows in one call, got ${rows.length}`
    throw refuse([{ path: 'instances', message }])
  }
  const parsed: Row[] = []
  const errors: FieldError[] = []
  rows.forEach((row, index) => {
    if (errors.length >= MAX_ERRORS) return
    const result = schema.safeParse(row)
    if (result.success) parsed.push(result.data)
    else
      for (const issue of result.error.issues) errors.push({ path: pathOf(index, issue.path), message: issue.message })
  })
  if (errors.length > 0) throw refuse(errors)
  return parsed
}

/** For models that read a text: `{ "text": "…" }`. */
function textInput({ maxLength, maxRows }: Extract<OnnxManifest['input'], { kind: 'text' }>): RowInput {
  const expected = `expected a text of 1 to ${maxLength} characters`
  const row = z.strictObject(
    {
      text: z
        .string({ error: `${expected}, as a string` })
        .min(1, `${expected}, got none`)
        .max(maxLength, `${expected}, got more`),
    },
    { error: objectError('{ "text": "…" }') },
  )
  return {
    schema: z.toJSONSchema(row),
    read: (rows) => ({ rows: parseRows(row, rows, maxRows).map(({ text }) => text) }),
  }
}

/** For models that read numbers: `{ "features": [5.1, 3.5, 1.4, 0.2] }`. */
function featuresInput({ tensor, names, maxRows }: Extract<OnnxManifest['input'], { kind: 'features' }>): RowInput {
  const width = names.length
  const list = `expected ${width} numbers (${names.join(', ')})`
  const number = z
    .number({ error: 'expected a finite number' })
    .min(-MAX_FLOAT32, 'expected a number that float32 can hold')
    .max(MAX_FLOAT32, 'expected a number that float32 can hold')
  const row = z.strictObject(
    {
      features: z
        .array(number, { error: list })
        .length(width, { error: (issue) => `${list}, got ${lengthOf(issue.input)}` }),
    },
    { error: objectError('{ "features": [ … ] }') },
  )
  return {
    schema: z.toJSONSchema(row),
    read(rows) {
      const parsed = parseRows(row, rows, maxRows)
      const data = new Float32Array(parsed.length * width)
      parsed.forEach(({ features }, index) => {
        data.set(features, index * width)
      })
      return { tensors: { [tensor]: { type: 'float32', data, dims: [parsed.length, width] } } }
    },
  }
}

/** Names the shape of a row when it is no object at all; an unknown key keeps the words that name it. */
function objectError(shape: string) {
  return ({ code }: { readonly code?: string }) =>
    code === 'invalid_type' ? `expected an object: ${shape}` : undefined
}

function lengthOf(input: unknown): number {
  return Array.isArray(input) ? input.length : 0
}

/** The input side of a model, by its manifest. */
export function rowInput(input: OnnxManifest['input']): RowInput {
  return input.kind === 'text' ? textInput(input) : featuresInput(input)
}
