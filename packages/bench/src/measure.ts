import { type Child, startChild } from './child.ts'
import type { LoadQuestions, LoadReport, Target } from './load.ts'
import type { SubjectQuestions } from './subjects/serve.ts'
import type { Subject } from './subjects.ts'
import { type Scenario, upstreamKey } from './traffic.ts'
import type { UpstreamQuestions } from './upstream.ts'

/** One run of one subject. */
export interface Measurement extends LoadReport {
  /** CPU time of the subject's process per request, all threads, microseconds. */
  readonly cpuMicros: number
  readonly rssBytes: number
  /** Share of the run that the subject's core was busy with it. Below about 0.9 it waited for the load, and a request costs more. */
  readonly busy: number
}

/** Requests at a fixed rate, whatever comes back. */
export interface Pace {
  readonly requests: number
  readonly requestsPerSecond: number
}

/** The mock upstream and the load generator, alive for all runs. */
export interface Rig {
  readonly upstreamOrigin: string
  readonly load: Child<LoadQuestions>
  readonly upstream: Child<UpstreamQuestions>
  /** How long callers wait who ask the upstream itself, milliseconds. */
  paceUpstream(scenario: Scenario, pace: Pace): Promise<readonly number[]>
  stop(): Promise<void>
}

/** A subject that serves. */
export interface RunningSubject {
  readonly origin: string
  readonly process: Child<SubjectQuestions>
  run(scenario: Scenario, requests: number): Promise<Measurement>
  /** How long its callers wait, milliseconds: for the first byte of a stream, for the last one of JSON. */
  pace(scenario: Scenario, pace: Pace): Promise<readonly number[]>
  stop(): Promise<void>
}

export async function startRig(): Promise<Rig> {
  const upstream = startChild<UpstreamQuestions>('upstream.ts', 1)
  const load = startChild<LoadQuestions>('load.ts', 1)
  const upstreamOrigin = await upstream.ask('listen', undefined)
  const direct: Target = {
    origin: upstreamOrigin,
    credentials: 'none',
    headers: { authorization: `Bearer ${upstreamKey}` },
  }
  return {
    upstreamOrigin,
    load,
    upstream,
    paceUpstream: (scenario, pace) => load.ask('pace', { target: direct, scenario, ...pace }),
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
  const target: Target = {
    origin,
    credentials: subject.credentials,
    headers: subject.headers?.(rig.upstreamOrigin) ?? {},
  }
  return {
    origin,
    process,
    async run(scenario, requests) {
      const before = await process.ask('read', undefined)
      const report = await Promise.race([rig.load.ask('run', { target, scenario, requests }), process.died])
      const after = await process.ask('read', undefined)
      const cpuMicros = after.cpuMicros - before.cpuMicros
      return {
        ...report,
        cpuMicros: cpuMicros / requests,
        rssBytes: after.rssBytes,
        busy: cpuMicros / (report.elapsedMs * 1000),
      }
    },
    pace: (scenario, pace) => Promise.race([rig.load.ask('pace', { target, scenario, ...pace }), process.died]),
    stop: () => process.stop(),
  }
}
