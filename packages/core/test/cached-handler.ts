import type { IncomingMessage, ServerResponse } from 'node:http'
import { endpoint, type Handler, listener, middleware } from '../src/http/handler.js'
import { sendJson } from '../src/http/respond.js'
import { type CacheOptions, cache } from '../src/middleware/cache.js'
import type { Principal } from '../src/principal.js'
import { listen } from './hosts.js'

/** `x-who: tenant/subject/tier/scopes` stands for what `auth` finds. */
export const who = middleware('who', (context, req) => {
  const given = req.headers['x-who']
  if (typeof given !== 'string') return
  const [tenant = '', subject = '', tier, scopes = ''] = given.split('/')
  const principal: Principal = {
    tenant,
    subject,
    method: 'test',
    scopes: scopes.split(' ').filter((scope) => scope !== ''),
    ...(tier === undefined || tier === '' ? {} : { tier }),
  }
  context.principal = principal
})

export interface Asking {
  body?: unknown
  who?: string | undefined
  path?: string
  headers?: Record<string, string>
  method?: string
  signal?: AbortSignal
}

interface Told {
  status: number
  body: { run?: number; [name: string]: unknown }
  cacheStatus: string | null
  headers: Headers
}

/** Asks as `acme/ann`, unless told otherwise, for `{ prompt: "hi" }`; `who: ""` is nobody. */
export async function ask(url: string, asking: Asking = {}): Promise<Told> {
  const { body = { prompt: 'hi' }, who: caller = 'acme/ann', path = '/ask', headers, method = 'POST', signal } = asking
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
      ...(caller === '' ? {} : { 'x-who': caller }),
      ...headers,
    },
    ...(method === 'GET' ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : {},
    cacheStatus: response.headers.get('cache-status'),
    headers: response.headers,
  }
}

/** Answers with how often it has run. */
export function counting(answer?: (req: IncomingMessage, res: ServerResponse, run: number) => void | Promise<void>) {
  let runs = 0
  const handler = endpoint('counting', (_context, req, res) => {
    runs += 1
    if (answer !== undefined) return answer(req, res, runs)
    sendJson(res, 200, { run: runs })
  })
  return { handler, runs: () => runs }
}

/** The URL of a handler behind `who`, what comes before, and the cache. */
export async function serve(options: CacheOptions, handler: Handler, ...before: Handler[]) {
  return (await listen(listener(who, ...before, cache(options), handler))).url
}
