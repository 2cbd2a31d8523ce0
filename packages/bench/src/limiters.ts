import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { addedBy } from './in-process.ts'
import { authorization, limiterSubjects } from './limiter-subjects.ts'
import { markdown } from './report.ts'

// What limiting costs a request, in memory and in Redis: an Express 5 route behind each subject less the same behind an empty layer, all in turns in one process.

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    /** In memory, of each slice. */
    requests: { type: 'string', default: '8000' },
    /** In Redis, where each waits for the one before. */
    'redis-requests': { type: 'string', default: '500' },
    redis: { type: 'string', default: process.env['TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379' },
  },
})

// Connected only when its turn comes: what runs in memory never lets the event loop turn, and a connection begun before it would be
// found too late by its own timer (`connect ETIMEDOUT`) before anybody had looked at its socket.
const redis = new Redis(values.redis, { lazyConnect: true, retryStrategy: () => null })
// What fails for it ends the run below, but does not say why.
redis.on('error', (error) => console.error(`Redis at ${values.redis}: ${error.message}`))
// More than any caller sends in a run, but no more: a limit that refills at once would have its key forgotten and made again by every request.
const mostRequests = 20_000
const subjects = limiterSubjects(redis, `tollgate-bench-${randomUUID()}:`)
for (const where of ['memory', 'Redis'] as const) {
  if (where === 'Redis') await redis.connect()
  const here = subjects.filter((subject) => subject.where === where)
  const pairs = here.map(({ make }) => ({ ...make(mostRequests), authorization }))
  // Of Redis the time that a caller waits says more than the CPU of this process.
  const added = await addedBy(
    pairs,
    Number(values.rounds),
    Number(where === 'memory' ? values.requests : values['redis-requests']),
    where === 'memory' ? 'cpu' : 'time',
  )
  const lines = here.map(({ name }, index) => {
    const { median, low, high } = added[index] ?? { median: Number.NaN, low: Number.NaN, high: Number.NaN }
    const ratio = median / (added[0]?.median ?? Number.NaN)
    return [where, name, median.toFixed(1), `${low.toFixed(1)}–${high.toFixed(1)}`, ratio.toFixed(2)]
  })
  const unit = where === 'memory' ? 'Added CPU µs' : 'Added µs, one at a time'
  console.log(`${markdown([['Where', 'Subject', unit, 'Half of the rounds', 'Times the first'], ...lines])}\n`)
}
// Some peers keep timers that nobody can stop.
process.exit()
