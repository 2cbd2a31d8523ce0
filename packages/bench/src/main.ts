import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { pinning } from './child.ts'
import { checkDuties } from './duties.ts'
import { type Measurement, type Rig, type RunningSubject, startRig, startSubject } from './measure.ts'
import { type Row, spread, table } from './report.ts'
import { assembled, base, compared, type Subject } from './subjects.ts'
import type { Scenario } from './traffic.ts'

const usage = `node src/main.ts [--short] [--rounds 5] [--only "Tollgate"] [--scenario json|stream]
  --short     only checks that every subject answers rightly and does its duties; measures nothing
  --only      measures the subjects whose name contains this (and the base)`

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    scenario: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

/** Requests of a warm-up and of one slice. Slices take a fraction of a second, so that the base's are close by when the machine's pace changes. */
const requests: Readonly<Record<Scenario, { warmUp: number; slice: number }>> = {
  json: { warmUp: 12_000, slice: 1_500 },
  stream: { warmUp: 3_000, slice: 400 },
}

/** Slices of every subject in a round. */
const slices = 4

/** Readings of one subject in one round: the medians of its slices. */
interface Reading {
  readonly subject: Subject
  readonly measurement: Measurement
  /** The base's CPU per request, mean of the slices just before and just after, over the subject's. */
  readonly perCore: number
}

/** A B A C A …, several times over, in processes that this round has started and warmed. */
async function round(rig: Rig, scenario: Scenario, subjects: readonly Subject[]): Promise<readonly Reading[]> {
  const { warmUp, slice } = requests[scenario]
  const running: Array<{ readonly subject: Subject; readonly process: RunningSubject }> = []
  const start = async (subject: Subject) => {
    const process = await startSubject(rig, subject)
    running.push({ subject, process })
    await process.run(scenario, warmUp)
    return process
  }
  try {
    const baseProcess = await start(base)
    for (const subject of subjects) await start(subject)
    const seen = new Map<Subject, Array<{ measurement: Measurement; perCore: number }>>()
    let before = await baseProcess.run(scenario, slice)
    for (let index = 0; index < slices; index += 1) {
      for (const { subject, process } of running) {
        const measurement = await process.run(scenario, slice)
        const after = process === baseProcess ? measurement : await baseProcess.run(scenario, slice)
        const perCore = (before.cpuMicros + after.cpuMicros) / 2 / measurement.cpuMicros
        seen.set(subject, [...(seen.get(subject) ?? []), { measurement, perCore }])
        before = after
      }
    }
    return running.map(({ subject }) => {
      const own = seen.get(subject) ?? []
      return {
        subject,
        measurement: middle(own.map(({ measurement }) => measurement)),
        perCore: spread(own.map(({ perCore }) => perCore)).median,
      }
    })
  } finally {
    for (const { process } of running) await process.stop()
  }
}

function middle(measurements: readonly Measurement[]): Measurement {
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

function rows(rounds: ReadonlyArray<readonly Reading[]>, subjects: readonly Subject[]): readonly Row[] {
  return [base, ...subjects].map((subject) => {
    const own = rounds.flatMap((readings) => readings.filter((reading) => reading.subject === subject))
    const overAssembled = rounds.flatMap((readings) => {
      const peer = readings.find((reading) => reading.subject === assembled)
      const reading = readings.find((each) => each.subject === subject)
      return peer === undefined || reading === undefined ? [] : [reading.perCore / peer.perCore]
    })
    const { busy, p50Ms, p99Ms, rssBytes } = middle(own.map(({ measurement }) => measurement))
    return {
      name: subject.name,
      cpuMicros: spread(own.map(({ measurement }) => measurement.cpuMicros)),
      perCore: spread(own.map(({ perCore }) => perCore)),
      timesAssembled: overAssembled.length === 0 ? undefined : spread(overAssembled),
      busy,
      p50Ms,
      p99Ms,
      rssMegabytes: rssBytes / 1_048_576,
    }
  })
}

async function measure(rig: Rig, scenarios: readonly Scenario[], chosen: readonly Subject[], count: number) {
  const loadBefore = loadavg()[0] ?? 0
  const results: Partial<Record<Scenario, readonly Row[]>> = {}
  for (const scenario of scenarios) {
    const subjects = chosen.filter((subject) => subject.scenarios?.includes(scenario) ?? true)
    const rounds: Array<readonly Reading[]> = []
    for (let index = 0; index < count; index += 1) {
      // Another order each time: who runs after whom is part of the noise.
      const first = index % subjects.length
      rounds.push(await round(rig, scenario, [...subjects.slice(first), ...subjects.slice(0, first)]))
      console.error(`${scenario}: round ${index + 1} of ${count}, load average ${loadavg()[0]?.toFixed(2)}`)
    }
    results[scenario] = rows(rounds, subjects)
    console.log(`\n## ${scenario}, ${count} rounds\n\n${table(results[scenario])}`)
  }
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, pinning, loadBefore }
  const folder = new URL('../results/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL('latest.json', folder), `${JSON.stringify({ machine, requests, results }, null, 2)}\n`)
}

async function main(): Promise<void> {
  if (values.help) {
    console.log(usage)
    return
  }
  const count = Number(values.rounds)
  const scenarios = (['json', 'stream'] as const).filter((name) => (values.scenario ?? name) === name)
  const subjects = compared.filter(({ name }) => name.includes(values.only))
  if (!Number.isInteger(count) || count < 1 || scenarios.length === 0 || subjects.length === 0) throw new Error(usage)
  const rig = await startRig()
  try {
    // What does not do the work must not be timed.
    for (const subject of [base, ...subjects]) {
      await checkDuties(rig, subject)
      console.error(`ok: ${subject.name}`)
    }
    if (!values.short) await measure(rig, scenarios, subjects, count)
  } finally {
    await rig.stop()
  }
}

await main()
