import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { Session } from 'node:inspector/promises'
import type { AddressInfo } from 'node:net'
import { answer } from '../child.ts'

/** What every subject can be asked. */
export type SubjectQuestions = ReturnType<typeof questionsOf>

/** What a process has used so far. */
export interface Reading {
  /** User and system time of all threads, microseconds. */
  readonly cpuMicros: number
  readonly rssBytes: number
}

/** Makes a listener that forwards to the upstream at this origin. */
export type MakeListener = (upstreamOrigin: string) => RequestListener

/** Starts a server that forwards to the upstream at this origin; tells its own. */
export type Listen = (upstreamOrigin: string) => Promise<string>

/** Connections outlive the pauses between runs. */
export const keepAliveTimeoutMs = 600_000

/** Makes a process of a listener: it is started, read and profiled by the parent. */
export function serve(make: MakeListener): void {
  serveBy(
    (upstreamOrigin) =>
      new Promise((resolve) => {
        const server = createServer(make(upstreamOrigin))
        server.keepAliveTimeout = keepAliveTimeoutMs
        server.listen(0, '127.0.0.1', () => resolve(originOf(server)))
      }),
  )
}

/** The same of whatever starts a server. */
export function serveBy(listen: Listen): void {
  answer(questionsOf(listen))
}

export function originOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function questionsOf(listen: Listen) {
  let session: Session | undefined
  return {
    listen,
    read: (): Reading => {
      const { user, system } = process.cpuUsage()
      return { cpuMicros: user + system, rssBytes: process.memoryUsage.rss() }
    },
    startProfile: async (intervalMicros: number) => {
      session = new Session()
      session.connect()
      await session.post('Profiler.enable')
      await session.post('Profiler.setSamplingInterval', { interval: intervalMicros })
      await session.post('Profiler.start')
    },
    /** Writes what was sampled since `startProfile` as a `.cpuprofile`. */
    stopProfile: async (file: string) => {
      const stopped = await session?.post('Profiler.stop')
      session?.disconnect()
      writeFileSync(file, JSON.stringify(stopped?.profile))
    },
  }
}
