import { type Child, startChild } from './child.ts'
import type { LoadQuestions, LoadReport } from './load.ts'
import type { SubjectQuestions } from './subjects/serve.ts'
import type { Subject } from './subjects.ts'
import { callerCount, type Scenario } from './traffic.ts'
import type { UpstreamQuestions } from './upstream.ts'

/** One run of one subject. */
export interface Measurement extends LoadReport {
  /** CPU time of the subject's process per request, all threads, microseconds. */
  readonly cpuMicros: number
  readonly rssBytes: number
  /** Share of the run that the subject's core was busy with it. Below about 0.9 it waited for the load, and a request costs more. */
  readonly busy: number
}

/** The mock upstream and the load generator, alive for all runs. */
export interface Rig {
  readonly upstreamOrigin: string
  readonly load: Child<LoadQuestions>
  readonly upstream: Child<UpstreamQuestions>
  stop(): Promise<void>
}

/** A subject that serves. */
export interface RunningSubject {
  readonly origin: string
  readonly process: Child<SubjectQuestions>
  run(scenario: Scenario, requests: number): Promise<Measurement>
  stop(): Promise<void>
}

export async function startRig(): Promise<Rig> {
  const upstream = startChild<UpstreamQuestions>('upstream.ts', 1)
  const load = startChild<LoadQuestions>('load.ts', 1)
  return {
    upstreamOrigin: await upstream.ask('listen', undefined),
    load,
    upstream,
    async stop() {
      await Promise.all([load.stop(), upstream.stop()])
    },
  }
}

export async function startSubject(
  rig: Rig,
  subject: Subject,
  variables: Readonly<Record<string, string>> = {},
): Promise<RunningSubject> {
  const process = startChild<SubjectQuestions>(subject.file, 0, { ...subject.variables, ...variables })
  const origin = await process.ask('listen', rig.upstreamOrigin)
  return {
    origin,
    process,
    async run(scenario, requests) {
      const before = await process.ask('read', undefined)
      const order = { origin, scenario, credentials: subject.credentials, requests, connections: callerCount }
      const report = await Promise.race([rig.load.ask('run', order), process.died])
      const after = await process.ask('read', undefined)
      const cpuMicros = after.cpuMicros - before.cpuMicros
      return {
        ...report,
        cpuMicros: cpuMicros / requests,
        rssBytes: after.rssBytes,
        busy: cpuMicros / (report.elapsedMs * 1000),
      }
    },
    stop: () => process.stop(),
  }
}
