import type { RequestListener } from 'node:http'
import connect from 'connect'
import express from 'express'
import express4 from 'express4'
import { describe } from 'vitest'
import { type ErrorHandler, type Handler, listener } from '../src/http/handler.js'
import { listen, type RunningServer } from './listen.js'

export { listen, type RunningServer }

/** A handler for every request, or for a path (a prefix, as `app.use` takes it on all hosts but node:http, where it must be equal). */
export type Mount = Handler | ErrorHandler | readonly [path: string, ...handlers: Array<Handler | ErrorHandler>]

export interface Host {
  readonly name: string
  /** A server on a free port, closed with all its connections when the test is over. */
  start(...mounts: Mount[]): Promise<RunningServer>
}

type App = RequestListener & { use(...args: unknown[]): unknown }

function appHost(name: string, make: () => unknown): Host {
  return {
    name,
    start(...mounts) {
      const app = make() as App
      for (const mount of mounts) {
        if (typeof mount === 'function') app.use(mount)
        else for (const handler of mount.slice(1)) app.use(mount[0], handler)
      }
      return listen(app)
    },
  }
}

/** Everything a middleware must run on. */
export const hosts: readonly Host[] = [
  appHost('Express 5', () => express()),
  appHost('Express 4', () => express4()),
  appHost('Connect', () => connect()),
  {
    name: 'node:http',
    start: (...mounts) => listen(listener(...mounts.flatMap(atPath))),
  },
]

/** Runs the same tests on every host. */
export function eachHost(define: (host: Host) => void): void {
  for (const host of hosts) describe(host.name, () => define(host))
}

function atPath(mount: Mount): Array<Handler | ErrorHandler> {
  if (typeof mount === 'function') return [mount]
  const [path, ...handlers] = mount
  return handlers.map((handler) => {
    if (handler.length === 4) return handler
    const guarded: Handler = (req, res, next) => {
      if (req.url?.split('?', 1)[0] === path) (handler as Handler)(req, res, next)
      else next()
    }
    return guarded
  })
}
