import type { OutgoingHttpHeaders } from 'node:http'
import { vi } from 'vitest'
import type { TollgateError } from '../src/errors.js'
import { type ErrorHandler, endpoint } from '../src/http/handler.js'
import { type Host, hosts } from './hosts.js'

export const hello = endpoint('hello', (_context, _req, res) => void res.end('hello'))

/** Headers of a principal: tenant, subject, and perhaps a tier. */
export const as = (principal: string) => ({ headers: { 'x-test-principal': principal } })

export const plain = hosts.find(({ name }) => name === 'node:http') as Host

export const emitWarning = () => vi.spyOn(process, 'emitWarning').mockImplementation(() => {})

/** The statuses of `count` requests, one after another. */
export async function statuses(url: string, count: number, init?: RequestInit): Promise<number[]> {
  const seen: number[] = []
  for (let index = 0; index < count; index += 1) {
    const answer = await fetch(url, init)
    await answer.arrayBuffer()
    seen.push(answer.status)
  }
  return seen
}

/** Keeps the errors that reach the end, and answers as a host does that knows only `status` and `headers`. */
export function catching(errors: TollgateError[]): ErrorHandler {
  return (error, _req, res, _next) => {
    const { status, headers } = error as TollgateError
    errors.push(error as TollgateError)
    res.writeHead(status, headers as OutgoingHttpHeaders)
    res.end()
  }
}
