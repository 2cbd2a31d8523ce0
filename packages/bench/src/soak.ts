import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createSocketServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { postgresLedger } from '@tollgate/postgres'
import pg from 'pg'
import { operatorKey, type ReferenceServer, startServer } from './reference-server.ts'

// Four servers on one Redis and one Postgres, under load, while callers leave, the upstream fails, a server is killed and started again, and Redis is restarted. Afterwards the books must balance.

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    callers: { type: 'string', default: '32' },
    postgres: {
      type: 'string',
      default: process.env['TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres',
    },
  },
})
const runMs = Number(values.seconds) * 1000
const usdPerMillionTokens = { input: '1', output: '2' }
/** Used up before the end of a run, so that it is seen to hold. */
const budgetNanoUsd = Number(values.seconds) * 3_000_000
const budgetUsd = String(budgetNanoUsd / 1e9)
const startedAt = Date.now()

const say = (text: string) => process.stdout.write(`${text}\n`)
const cleanUps: Array<() => unknown> = []

const folder = await mkdtemp(join(tmpdir(), 'tollgate-soak-'))
cleanUps.push(() => rm(folder, { recursive: true, force: true }))
try {
  process.exitCode = (await soak()) ? 0 : 1
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}

async function soak(): Promise<boolean> {
  const upstream = await startUpstream()
  const redisPort = await freePort()
  let redis = await startRedis(redisPort)
  cleanUps.push(() => redis.kill('SIGKILL'))
  const databaseUrl = await makeDatabase()
  const start = (name: string) =>
    startServer(join(folder, name), {
      API_KEY: operatorKey,
      DATABASE_URL: databaseUrl,
      IDENTITY_SECRET: 'the secret of the soak, thirty-two bytes or more',
      REDIS_URL: `redis://127.0.0.1:${redisPort}`,
      OPENAI_BASE_URL: upstream,
      MODEL_NAME: 'm',
      PRICES: JSON.stringify({ m: { usdPerMillionTokens } }),
      CACHE_TTL_SECONDS: '0',
      RATE_LIMIT_ENTERPRISE: '1000000',
      LOG_LEVEL: 'silent',
      LIMITS: JSON.stringify([
        { name: 'budget', measure: 'money', per: 'tenant', limit: budgetUsd, calendar: 'year', leaseMs: 5_000 },
        { name: 'places', measure: 'concurrency', per: 'tenant', limit: 24, leaseMs: 5_000 },
      ]),
    })
  const servers = await Promise.all(['a', 'b', 'c', 'd'].map(start))
  cleanUps.push(() => {
    for (const { child } of servers) child.kill('SIGKILL')
  })
  say(`4 servers, Redis on ${redisPort}, ${values.callers} callers, ${values.seconds} s`)

  /** What callers saw of each request. */
  const seen = new Map<
    string,
    { readonly status: number | 'left'; readonly server: number; readonly endedAt: number }
  >()
  let stopped = false
  const call = async (): Promise<void> => {
    const id = randomUUID()
    const server = Math.floor(Math.random() * servers.length)
    const leaving = new AbortController()
    const timer = Math.random() < 0.1 ? setTimeout(() => leaving.abort(), Math.random() * 60) : undefined
    const body = {
      model: 'm',
      messages: [{ role: 'user', content: 'How long is the coast?' }],
      max_tokens: 1 + Math.floor(Math.random() * 20),
      stream: Math.random() < 0.5,
    }
    let status: number | 'left' = 'left'
    try {
      const response = await fetch(`${(servers[server] as ReferenceServer).url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json', 'x-request-id': id },
        body: JSON.stringify(body),
        signal: leaving.signal,
      })
      await response.text()
      status = response.status
    } catch {
      // Left, or its server was killed.
    } finally {
      clearTimeout(timer)
    }
    seen.set(id, { status, server, endedAt: Date.now() })
    if (status === 402 || status === 429 || status === 503) await wait(20)
    if (status === 'left') await wait(5)
  }
  const callers = Array.from({ length: Number(values.callers) }, async () => {
    while (!stopped) await call()
  })

  let killedAt = Number.POSITIVE_INFINITY
  await wait(runMs * 0.3)
  const victim = servers[1] as ReferenceServer
  killedAt = Date.now()
  victim.child.kill('SIGKILL')
  await once(victim.child, 'exit')
  say('a server was killed')
  await wait(runMs * 0.1)
  servers[1] = await start('b')
  say('and is back')
  await wait(runMs * 0.2)
  redis.kill('SIGKILL')
  await once(redis, 'exit')
  say('Redis was killed')
  await wait(1_000)
  redis = await startRedis(redisPort)
  say('and is back')
  await wait(runMs * 0.4)
  stopped = true
  await Promise.all(callers)
  // Settling goes on behind the answers, and what a dead process held ends.
  await wait(6_000)
  const limit = (await standing((servers[0] as ReferenceServer).url)).find(({ name }) => name === 'budget')
  for (const { child } of servers) child.kill('SIGTERM')
  await Promise.all(servers.map(({ child }) => (child.exitCode === null ? once(child, 'exit') : undefined)))

  const ledger = postgresLedger({ connection: { url: databaseUrl } })
  await ledger.ready()
  const rows = new Map<string, number>()
  let spent = 0
  for (let after: string | undefined, more = true; more; ) {
    const page = await ledger.rows({
      from: startedAt - 1,
      to: Date.now() + 1,
      limit: 10_000,
      after,
      where: { tenant: 'default' },
    })
    for (const { requestId, costNanoUsd = 0, route } of page.items) {
      if (route !== '/v1/chat/completions') continue
      rows.set(requestId, (rows.get(requestId) ?? 0) + 1)
      spent += costNanoUsd
    }
    after = page.next
    more = after !== undefined
  }
  await ledger.close()

  const admitted = [...seen].filter(
    ([, { status }]) => status === 200 || status === 502 || status === 504 || status === 500,
  )
  // What the killed server had answered in its last moment may not have reached its folder.
  const isExcused = ([, { server, endedAt }]: (typeof admitted)[number]) =>
    server === 1 && Math.abs(endedAt - killedAt) < 1_000
  const without = admitted.filter(([id]) => !rows.has(id))
  const counts = {
    requests: seen.size,
    answered: admitted.length,
    refused: [...seen.values()].filter(({ status }) => status === 402 || status === 429).length,
    unavailable: [...seen.values()].filter(({ status }) => status === 503).length,
    left: [...seen.values()].filter(({ status }) => status === 'left').length,
    rows: rows.size,
    'rows doubled': [...rows.values()].filter((count) => count > 1).length,
    'rows missing': without.filter((each) => !isExcused(each)).length,
    'rows lost with the killed server': without.filter(isExcused).length,
    'rows of no request': [...rows.keys()].filter((id) => !seen.has(id)).length,
    'spent, nano-USD': spent,
    'spent by the limit store, USD': limit?.used ?? 'unknown',
    'budget, nano-USD': budgetNanoUsd,
    'overshoot, nano-USD': Math.max(0, spent - budgetNanoUsd),
  }
  for (const [name, count] of Object.entries(counts)) say(`${name}: ${count}`)
  const failures = ['rows doubled', 'rows missing', 'rows of no request', 'overshoot, nano-USD'] as const
  const wrong = failures.filter((name) => counts[name] > 0)
  if (counts.answered < 100) wrong.push('rows missing')
  say(wrong.length === 0 ? 'The books balance.' : `The books do not balance: ${wrong.join(', ')}`)
  return wrong.length === 0
}

async function standing(url: string): Promise<Array<{ name: string; used: string }>> {
  const response = await fetch(`${url}/v1/limits`, { headers: { authorization: `Bearer ${operatorKey}` } })
  return ((await response.json()) as { data: Array<{ name: string; used: string }> }).data
}

/** An upstream that uses what it is let, now and then fails, is late, or breaks off. */
async function startUpstream(): Promise<string> {
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', async () => {
      const { max_tokens: most, stream } = JSON.parse(Buffer.concat(chunks).toString()) as {
        max_tokens: number
        stream: boolean
      }
      const chance = Math.random()
      await wait(chance < 0.05 ? 300 : Math.random() * 20)
      if (chance > 0.95)
        return void res.writeHead(500, { 'content-type': 'application/json' }).end('{"error":{"message":"no"}}')
      const completion = 1 + Math.floor(Math.random() * most)
      const usage = { prompt_tokens: 6, completion_tokens: completion, total_tokens: completion + 6 }
      const common = { id: randomUUID(), created: 1, model: 'm' }
      if (!stream) {
        const message = { role: 'assistant', content: 'long' }
        res.writeHead(200, { 'content-type': 'application/json' })
        return void res.end(
          JSON.stringify({
            ...common,
            object: 'chat.completion',
            choices: [{ index: 0, message, finish_reason: 'stop' }],
            usage,
          }),
        )
      }
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const event = (choices: unknown[], more: object = {}) =>
        res.write(`data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', choices, ...more })}\n\n`)
      for (let token = 0; token < completion; token += 1) {
        if (res.destroyed) return
        if (chance > 0.92) return void res.destroy()
        event([{ index: 0, delta: { content: 'x ' }, finish_reason: null }])
        await wait(2)
      }
      event([{ index: 0, delta: {}, finish_reason: 'stop' }])
      event([], { usage })
      res.end('data: [DONE]\n\n')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUps.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}

/** One that has on disk whatever it has answered. */
async function startRedis(port: number): Promise<ChildProcess> {
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
    '--save',
    '',
  ]
  const child = spawn('redis-server', args, { stdio: 'ignore' })
  await wait(1_000)
  return child
}

async function makeDatabase(): Promise<string> {
  const name = `tollgate_soak_${process.pid}_${Date.now()}`
  const run = async (statement: string) => {
    const client = new pg.Client({ connectionString: values.postgres })
    await client.connect()
    await client.query(statement).finally(() => client.end())
  }
  await run(`create database ${name}`)
  cleanUps.push(() => run(`drop database ${name} with (force)`))
  const url = new URL(values.postgres)
  url.pathname = `/${name}`
  return url.href
}

async function freePort(): Promise<number> {
  const server = createSocketServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
