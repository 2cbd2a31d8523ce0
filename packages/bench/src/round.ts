import { interleave } from './interleave.ts'
import { type Measurement, type Pace, type Rig, type RunningSubject, startSubject } from './measure.ts'
import { quantile, spread } from './report.ts'
import { base, type Subject } from './subjects.ts'
import type { Scenario } from './traffic.ts'

/** Requests of a warm-up and of one slice. Slices take a fraction of a second, so that the base's are close by when the machine's pace changes. */
export const requests: Readonly<Record<Scenario, { warmUp: number; slice: number }>> = {
  json: { warmUp: 12_000, slice: 1_500 },
  stream: { warmUp: 3_000, slice: 400 },
}

/** Three seconds at a tenth, or less, of what the slowest subject can do: nobody waits for somebody else's answer. */
export const paces: Readonly<Record<Scenario, Pace>> = {
  json: { requests: 300, requestsPerSecond: 100 },
  stream: { requests: 120, requestsPerSecond: 40 },
}

/** Slices of every subject in a round. */
const slices = { throughput: 4, latency: 2 } as const

/** What callers wait, milliseconds. */
export interface Latency {
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Readings of one subject in one round: the medians of its slices. */
export interface Reading {
  readonly subject: Subject
  readonly measurement: Measurement
  /** The base's CPU per request, mean of the slices just before and just after, over the subject's. */
  readonly perCore: number
  /** What callers of the upstream itself waited meanwhile, at a fixed rate. */
  readonly direct: Latency
  /** What the subject's callers waited more. */
  readonly added: Latency
}

/** A B A C A …, in processes that this round has started and warmed: first as fast as it goes beside the base, then paced beside the upstream itself. */
export async function round(rig: Rig, scenario: Scenario, subjects: readonly Subject[]): Promise<readonly Reading[]> {
  const { warmUp, slice } = requests[scenario]
  const running = new Map<Subject, RunningSubject>()
  const start = async (subject: Subject) => {
    const process = await startSubject(rig, subject)
    running.set(subject, process)
    await process.run(scenario, warmUp)
    return process
  }
  try {
    const baseProcess = await start(base)
    for (const subject of subjects) await start(subject)
    const processes = [...running.values()]
    const saturated = await interleave({
      subjects: processes,
      slices: slices.throughput,
      neighbour: () => baseProcess.run(scenario, slice),
      own: (process) => process.run(scenario, slice),
    })
    const paced = await interleave({
      subjects: processes,
      slices: slices.latency,
      neighbour: () => rig.paceUpstream(scenario, paces[scenario]),
      own: (process) => process.pace(scenario, paces[scenario]),
    })
    return [...running].map(([subject, process]) => {
      const runs = saturated.get(process) ?? []
      const waits = paced.get(process) ?? []
      const perCore = runs.map(({ before, own, after }) => (before.cpuMicros + after.cpuMicros) / 2 / own.cpuMicros)
      return {
        subject,
        measurement: middle(runs.map(({ own }) => own)),
        perCore: spread(perCore).median,
        ...latencies(
          waits.flatMap(({ before, after }) => [...before, ...after]),
          waits.flatMap(({ own }) => own),
        ),
      }
    })
  } finally {
    for (const process of running.values()) await process.stop()
  }
}

/** @param directMs @param ownMs how long each caller waited */
export function latencies(
  directMs: readonly number[],
  ownMs: readonly number[],
): { readonly direct: Latency; readonly added: Latency } {
  const of = (waits: readonly number[]): Latency => ({ p50Ms: quantile(waits, 0.5), p99Ms: quantile(waits, 0.99) })
  const [direct, own] = [of(directMs), of(ownMs)]
  return { direct, added: { p50Ms: own.p50Ms - direct.p50Ms, p99Ms: own.p99Ms - direct.p99Ms } }
}

export function middle(measurements: readonly Measurement[]): Measurement {
  const of = (read: (measurement: Measurement) => number) => spread(measurements.map(read)).median
  return {
    cpuMicros: of(({ cpuMicros }) => cpuMicros),
    rssBytes: of(({ rssBytes }) => rssBytes),
    busy: of(({ busy }) => busy),
    elapsedMs: of(({ elapsedMs }) => elapsedMs),
    p50Ms: of(({ p50Ms }) => p50Ms),
    p99Ms: of(({ p99Ms }) => p99Ms),
  }
}
