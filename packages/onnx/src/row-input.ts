import type { FieldError } from '@tollgate/core/errors'
import { fieldErrors, invalidRequest } from '@tollgate/core/wire/parse'
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
const maxFloat32 = 3.4028234663852886e38
/** A batch that is wrong in every row is told so in the first few. */
const maxErrors = 20

/** All rows through one schema, or every complaint about them. */
function parseRows<Row>(schema: z.ZodType<Row>, rows: readonly unknown[], maxRows: number): Row[] {
  if (rows.length > maxRows) {
    const message = `expected at most ${maxRows} rows in one call, got ${rows.length}`
    throw invalidRequest([{ path: 'instances', message }])
  }
  const parsed: Row[] = []
  const errors: FieldError[] = []
  rows.forEach((row, index) => {
    if (errors.length >= maxErrors) return
    const result = schema.safeParse(row)
    if (result.success) parsed.push(result.data)
    else errors.push(...fieldErrors(result.error, `instances[${index}]`))
  })
  if (errors.length > 0) throw invalidRequest(errors.slice(0, maxErrors))
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
    .min(-maxFloat32, 'expected a number that float32 can hold')
    .max(maxFloat32, 'expected a number that float32 can hold')
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
