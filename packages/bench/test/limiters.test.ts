import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { statusOf } from '../src/in-process.ts'
import { limiterSubjects } from '../src/limiter-subjects.ts'

const url = process.env['TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379'
const redis = await connected()
afterAll(() => redis?.disconnect())

// Nothing here is about time: a limiter that does not limit must not be compared.
describe.each(limiterSubjects(redis, `tollgate-bench-test-${randomUUID()}:`))('$where: $name', ({ make }) => {
  it('lets five through and refuses the sixth, for each caller', async () => {
    const { app } = make(5)
    for (const caller of ['Bearer a', 'Bearer b']) {
      const statuses: number[] = []
      for (let count = 0; count < 6; count += 1) statuses.push(await statusOf(app, caller))
      expect(statuses).toEqual([200, 200, 200, 200, 200, 429])
    }
  })
})

async function connected(): Promise<Redis | undefined> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    client.disconnect()
    if (process.env['CI'] === 'true') throw error
    process.stderr.write(`Skipped: no Redis at ${url} (set TEST_REDIS_URL).\n`)
    return undefined
  }
}
