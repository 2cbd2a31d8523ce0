import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { Server } from 'node:http'
import { portkeyEntry } from '../portkey-install.ts'
import { keepAliveTimeoutMs, originOf, serveBy } from './serve.ts'

// Portkey's gateway: the program that its package runs, in this process, so that it is read and profiled as the others are. Where the
// upstream is, each request tells it.
serveBy(async () => {
  let server: Server | undefined
  // The program keeps its server to itself. Node tells of every one that begins to listen.
  subscribe('tracing:net.server.listen:asyncStart', (message) => {
    server = (message as { server: Server }).server
    server.keepAliveTimeout = keepAliveTimeoutMs
  })
  process.argv.push('--port=0', '--headless')
  await import(portkeyEntry.href)
  if (server === undefined) throw new Error('Portkey listens nowhere')
  if (!server.listening) await once(server, 'listening')
  return originOf(server)
})
