import { parseArgs } from 'node:util'
import { authenticationSubjects } from './authentication-subjects.ts'
import { addedBy } from './in-process.ts'
import { markdown } from './report.ts'

// What it costs to find out who calls, warm: an Express 5 route behind each subject less the same behind an empty layer, all in turns in one process.

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, requests: { type: 'string', default: '5000' } },
})

const { subjects } = await authenticationSubjects()
const pairs = subjects.map(({ app, bare, credentials }) => ({
  app,
  bare,
  authorization: (index: number) => `Bearer ${credentials[index % credentials.length]}`,
}))
const added = await addedBy(pairs, Number(values.rounds), Number(values.requests))
const lines = subjects.map(({ group, name }, index) => {
  const base = added[subjects.findIndex((other) => other.group === group)]
  const { median, low, high } = added[index] ?? { median: Number.NaN, low: Number.NaN, high: Number.NaN }
  const ratio = median / (base?.median ?? Number.NaN)
  return [group, name, median.toFixed(1), `${low.toFixed(1)}–${high.toFixed(1)}`, ratio.toFixed(1)]
})
console.log(markdown([['Credential', 'Subject', 'Added µs', 'Half of the rounds', 'Times the first'], ...lines]))
// Some peers keep timers that nobody can stop.
process.exit()
