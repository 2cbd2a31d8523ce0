import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster } from 'redis'
import { afterAll, onTestFinished } from 'vitest'
import type { RedisClient } from '../src/scripts.js'

const url = process.env['TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379'
const hasBinary = spawnSync('redis-server', ['--version']).status === 0

/** A client of each kind, of the server at `TEST_REDIS_URL`, or of one that is started. None of either on a laptop: the tests are skipped; in CI that fails. */
export async function servers(): Promise<{ ioredis: RedisClient; redis: RedisClient } | undefined> {
  const own = (await answers(url)) ? undefined : await start()
  if (own === undefined && !(await answers(url))) {
    const reason = `no Redis at ${url} (set TEST_REDIS_URL), and no redis-server on the PATH`
    if (process.env['CI'] === 'true') throw new Error(reason)
    process.stderr.write(`Skipped: ${reason}.\n`)
    return undefined
  }
  const at = own?.url ?? url
  const [io, node] = [new Redis(at), createClient({ url: at })]
  await node.connect()
  afterAll(async () => {
    io.disconnect()
    node.destroy()
    await own?.stop()
  })
  return { ioredis: io, redis: node as unknown as RedisClient }
}

/** A server of its own until the test is over. */
export async function redisServer({ cluster = false } = {}) {
  const server = await start(...(cluster ? ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] : []))
  const io = new Redis(server.url)
  onTestFinished(async () => {
    io.disconnect()
    await server.stop()
  })
  const clients: RedisClient[] = []
  if (cluster) {
    // One server with all places is a cluster as strict as one of many.
    await io.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    while (!String(await io.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
      await new Promise((next) => setTimeout(next, 50))
    const [ofIo, ofNode] = [new Cluster([server.url]), createCluster({ rootNodes: [{ url: server.url }] })]
    await ofNode.connect()
    onTestFinished(() => {
      ofIo.disconnect()
      ofNode.destroy()
    })
    clients.push(ofIo, ofNode as unknown as RedisClient)
  }
  const command = (name: string, ...args: string[]) => io.call(name, ...args)
  return { client: io as RedisClient, cluster: clients, command }
}

async function start(...args: readonly string[]) {
  if (!hasBinary) throw new Error('There is no redis-server on the PATH.')
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-redis-'))
  const port = await freePort()
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder]
  const child = spawn('redis-server', [...settings, ...args], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const at = `redis://127.0.0.1:${port}`
  for (let tries = 0; !(await answers(at)); tries += 1) {
    if (tries > 100) throw new Error('redis-server does not answer.')
    await new Promise((next) => setTimeout(next, 50))
  }
  return {
    url: at,
    async stop() {
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answers(at: string): Promise<boolean> {
  const client = new Redis(at, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 1_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    client.disconnect()
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  await new Promise((done) => server.close(done))
  return port
}
