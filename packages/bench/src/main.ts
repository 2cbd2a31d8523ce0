import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { pinning } from './child.ts'
import { checkDuties } from './duties.ts'
import { type Rig, startRig } from './measure.ts'
import { installPortkey } from './portkey-install.ts'
import { type LatencyRow, latencyTable, type Row, table } from './report.ts'
import { paces, type Reading, requests, round } from './round.ts'
import { directLine, latencyRows, rows } from './rows.ts'
import { base, compared, portkey, type Subject } from './subjects.ts'
import type { Scenario } from './traffic.ts'

const usage = `node src/main.ts [--short] [--rounds 5] [--only "Tollgate"] [--scenario json|stream] [--portkey]
  --short     only checks that every subject answers rightly and does its duties; measures nothing
  --only      measures the subjects whose name contains this (and the base)
  --portkey   and ${portkey.name}, which npm fetches the first time; whatever --only says`

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    scenario: { type: 'string' },
    portkey: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

/** What is left of a scenario in `results/latest.json`. */
interface Result {
  readonly throughput: readonly Row[]
  readonly latency: readonly LatencyRow[]
}

async function measure(rig: Rig, scenarios: readonly Scenario[], chosen: readonly Subject[], count: number) {
  const loadBefore = loadavg()[0] ?? 0
  const results: Partial<Record<Scenario, Result>> = {}
  for (const scenario of scenarios) {
    const subjects = chosen.filter((subject) => subject.scenarios?.includes(scenario) ?? true)
    const rounds: Array<readonly Reading[]> = []
    for (let index = 0; index < count; index += 1) {
      // Another order each time: who runs after whom is part of the noise.
      const first = index % subjects.length
      rounds.push(await round(rig, scenario, [...subjects.slice(first), ...subjects.slice(0, first)]))
      console.error(`${scenario}: round ${index + 1} of ${count}, load average ${loadavg()[0]?.toFixed(2)}`)
    }
    const result = { throughput: rows(rounds, subjects), latency: latencyRows(rounds, subjects) }
    results[scenario] = result
    console.log(`\n## ${scenario}, ${count} rounds\n\n${table(result.throughput)}`)
    const waited = scenario === 'stream' ? 'the first byte' : 'the last byte'
    console.log(`\n${paces[scenario].requestsPerSecond} requests a second, until ${waited}; ${directLine(rounds)}`)
    console.log(`\n${latencyTable(result.latency)}`)
  }
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, pinning, loadBefore }
  const folder = new URL('../results/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL('latest.json', folder), `${JSON.stringify({ machine, requests, paces, results }, null, 2)}\n`)
}

/** Portkey if it can be had; says so if not. */
async function fetched(): Promise<readonly Subject[]> {
  try {
    await installPortkey()
    return [portkey]
  } catch (error) {
    console.error(`${portkey.name} can't be had and is left out: ${error instanceof Error ? error.message : error}`)
    return []
  }
}

async function main(): Promise<void> {
  if (values.help) {
    console.log(usage)
    return
  }
  const count = Number(values.rounds)
  const scenarios = (['json', 'stream'] as const).filter((name) => (values.scenario ?? name) === name)
  const own = compared.filter(({ name }) => name.includes(values.only))
  if (!Number.isInteger(count) || count < 1 || scenarios.length === 0) throw new Error(usage)
  const subjects = values.portkey ? [...own, ...(await fetched())] : own
  if (subjects.length === 0) throw new Error(usage)
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
