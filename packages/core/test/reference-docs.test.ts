import { readFileSync } from 'node:fs'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { errorCatalogue } from '../src/errors.js'
import { contextOf } from '../src/http/context.js'

/** The cells of a page's tables, row by row. */
function rows(page: string): string[][] {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/reference', page), 'utf8')
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    )
}

it('lists every error code, as it is, and no other', () => {
  const written = rows('errors.md').map(([code, status, type, retryable]) => ({ code, status, type, retryable }))
  const real = Object.entries(errorCatalogue).map(([code, { status, type, retryable }]) => ({
    code,
    status: String(status),
    type,
    retryable: retryable ? 'yes' : 'no',
  }))
  expect(written).toEqual(real)
})

it('lists every slot of the context, and no other', () => {
  const req = new IncomingMessage(new Socket())
  const context = contextOf(req, new ServerResponse(req))
  // `signal` is a getter, which stands on the prototype.
  const getters = Object.getOwnPropertyNames(Object.getPrototypeOf(context)).filter((name) => name !== 'constructor')
  expect(
    rows('context.md')
      .map(([slot]) => slot)
      .toSorted(),
  ).toEqual([...getters, ...Object.keys(context)].toSorted())
})
