import { mkdirSync, readFileSync } from 'node:fs'
import type { Profiler } from 'node:inspector'
import { parseArgs } from 'node:util'
import { startRig, startSubject } from './measure.ts'
import { markdown } from './report.ts'
import { base, compared } from './subjects.ts'
import type { Scenario } from './traffic.ts'

const { values } = parseArgs({
  options: {
    subject: { type: 'string', default: 'Tollgate on Express, JWT' },
    scenario: { type: 'string', default: 'json' },
    requests: { type: 'string', default: '20000' },
    top: { type: 'string', default: '30' },
  },
})

/** How often the profiler looks. Shorter costs more than it tells. */
const intervalMicros = 200

type Node = Profiler.ProfileNode

/** Samples by whoever is answerable for them. */
interface Shares {
  /** By file of ours or by package: its own time and what it spent inside Node, not what it called in others. */
  readonly byOwner: ReadonlyMap<string, number>
  /** By function of an owner, in the same way. */
  readonly byFunction: ReadonlyMap<string, number>
  readonly total: number
}

/** Reads a profile. Time inside Node belongs to the nearest caller that is not Node itself; without one, to Node. */
function shares(profile: Profiler.Profile): Shares {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])))
  const byOwner = new Map<string, number>()
  const byFunction = new Map<string, number>()
  let total = 0
  profile.samples?.forEach((id, index) => {
    const leaf = nodes.get(id)
    const micros = profile.timeDeltas?.[index] ?? 0
    if (leaf === undefined || leaf.callFrame.functionName === '(idle)') return
    total += micros
    let answerable: Node | undefined = leaf
    while (answerable !== undefined && ownerOf(answerable) === undefined) {
      answerable = nodes.get(parents.get(answerable.id) ?? -1)
    }
    const owner = (answerable && ownerOf(answerable)) ?? nodeItself(leaf)
    add(byOwner, owner, micros)
    const via = answerable === leaf || answerable === undefined ? '' : ` › ${leaf.callFrame.functionName}`
    add(byFunction, `${owner} ${(answerable ?? leaf).callFrame.functionName || '(anonymous)'}${via}`, micros)
  })
  return { byOwner, byFunction, total }
}

function ownerOf({ callFrame: { url } }: Node): string | undefined {
  const own = /packages\/(core\/dist|bench\/src)\/(.*?)\.[jt]s$/.exec(url)
  if (own !== null) return `${own[1] === 'core/dist' ? 'tollgate' : 'bench'} ${own[2]}`
  return /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
}

function nodeItself({ callFrame: { functionName, url } }: Node): string {
  return url.startsWith('node:') ? 'node' : functionName === '' ? 'node' : functionName
}

function add(sums: Map<string, number>, key: string, micros: number): void {
  sums.set(key, (sums.get(key) ?? 0) + micros)
}

function ranked(sums: ReadonlyMap<string, number>, total: number, microsPerRequest: number, top: number): string {
  const lines = [...sums]
    .sort(([, left], [, right]) => right - left)
    .slice(0, top)
    .map(([name, micros]) => {
      const share = micros / total
      return [name, `${(share * 100).toFixed(1)} %`, (share * microsPerRequest).toFixed(1)]
    })
  return markdown([['Where', 'Share', 'µs/request'], ...lines])
}

const subject = [base, ...compared].find(({ name }) => name === values.subject)
if (subject === undefined) throw new Error(`No subject '${values.subject}'.`)
const scenario = values.scenario as Scenario
const requests = Number(values.requests)
const folder = new URL('../results/', import.meta.url).pathname
mkdirSync(folder, { recursive: true })
const file = `${folder}${subject.name.replace(/\W+/g, '-')}-${scenario}.cpuprofile`
const rig = await startRig()
const running = await startSubject(rig, subject)
await running.run(scenario, requests)
await running.process.ask('startProfile', intervalMicros)
const { cpuMicros } = await running.run(scenario, requests)
await running.process.ask('stopProfile', file)
await running.stop()
await rig.stop()
const { byOwner, byFunction, total } = shares(JSON.parse(readFileSync(file, 'utf8')) as Profiler.Profile)
console.log(`${subject.name}, ${scenario}, ${cpuMicros.toFixed(0)} µs of CPU per request under the profiler; ${file}\n`)
console.log(`${ranked(byOwner, total, cpuMicros, Number(values.top))}\n`)
console.log(ranked(byFunction, total, cpuMicros, 2 * Number(values.top)))
