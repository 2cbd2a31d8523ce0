import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
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

/** Makes a process of a listener: it is started, read and profiled by the parent. */
export function serve(make: MakeListener): void {
  answer(questionsOf(make))
}

function questionsOf(make: MakeListener) {
  let session: Session | undefined
  return {
    /** Starts the server; tells its origin. */
    listen: (upstreamOrigin: string) =>
      new Promise<string>((resolve) => {
        const server = createServer(make(upstreamOrigin))
        // Runs pause between each other: no connection may end in between.
        server.keepAliveTimeout = 600_000
        server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
      }),
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
