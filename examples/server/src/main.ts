import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isTollgateError } from '@tollgate/core/errors'
import type { LimitStore } from '@tollgate/core/stores/limit-store'
import { redisLimitStore } from '@tollgate/redis'
import { Redis } from 'ioredis'
import { type Gate, makeGate } from './app.js'
import { openStores, type Stores } from './identities.js'
import { defaultModels, embeddedNames } from './models.js'
import { hasAnthropic, hasOpenAi, readSettings, type Settings, SettingsError } from './settings.js'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** For people at the terminal; requests are logged as JSON lines. */
const say = (text: string) => process.stdout.write(`${text}\n`)

function start(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
  const settings = readSettings(process.env, embeddedNames)
  const stores = openStores(settings, (error) => complain('Database', error))
  const server = createServer()
  // Streams may last as long as the request's own deadline; what this bounds is the arrival of a request.
  server.requestTimeout = 120_000
  server.once('error', (error: NodeJS.ErrnoException) => {
    const mend = error.code === 'EADDRINUSE' ? `: port ${settings.PORT} is taken, set PORT to another one` : ''
    process.stderr.write(`Cannot listen on ${settings.HOST}:${settings.PORT} (${error.code})${mend}\n`)
    process.exit(1)
  })
  // Nothing is loaded before the port is ours: what loads in native code must not be ended half way.
  server.listen(settings.PORT, settings.HOST, () => endIfMistaken(() => serve(server, settings, stores)))
}

function serve(server: Server, settings: Settings, stores: Stores): void {
  const { port } = server.address() as AddressInfo
  const host = settings.HOST === '0.0.0.0' || settings.HOST === '::' ? 'localhost' : settings.HOST
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`
  const embedded = settings.DATABASE_URL === undefined
  // Where identities are shared, a key of one process would be good for none of the others.
  const apiKey = settings.API_KEY ?? (embedded ? `tg_dev_${randomBytes(24).toString('base64url')}` : undefined)
  const gate = makeGate({
    settings,
    version,
    publicUrl: settings.PUBLIC_URL ?? `http://localhost:${port}`,
    apiKey,
    ...stores,
    spoolFolder: join(settings.DATA_FOLDER, 'ledger'),
    limitStore: sharedLimits(settings),
    report: say,
    onFirstKey:
      apiKey === undefined
        ? (key) => say(`  first key  ${key} (may do everything; shown this once: keep it)`)
        : undefined,
  })
  server.on('request', gate.listener)
  greet(settings, apiKey, url)
  endOnSignals(server, gate, settings, stores)
}

/** Limits that all servers with the same Redis share. */
function sharedLimits({ REDIS_URL: url }: Settings): LimitStore | undefined {
  if (url === undefined) return undefined
  const client = new Redis(url, { maxRetriesPerRequest: 1 })
  client.on('error', (error) => complain('Redis', error))
  return redisLimitStore({ client })
}

function complain(of: string, error: unknown): void {
  process.stderr.write(`${of}: ${error instanceof Error ? error.message : String(error)}\n`)
}

function greet(settings: Settings, apiKey: string | undefined, url: string): void {
  const defaults = defaultModels(settings)
  const upstreams =
    settings.GATEWAY_CONFIG !== undefined
      ? [`as ${settings.GATEWAY_CONFIG} says`]
      : [
          ...(hasOpenAi(settings) ? [settings.OPENAI_BASE_URL ?? 'https://api.openai.com/v1'] : []),
          ...(hasAnthropic(settings) ? [settings.ANTHROPIC_BASE_URL ?? 'https://api.anthropic.com/v1'] : []),
        ]
  const upstream = upstreams.length === 0 ? 'echo (for development)' : `upstream: ${upstreams.join(', ')}`
  const isMade = apiKey !== undefined && settings.API_KEY === undefined
  say(`Tollgate ${version} listens on ${url}`)
  say(
    `  models     language-id, iris (embedded); ${upstream}; default: ${defaults.generate ?? (settings.GATEWAY_CONFIG === undefined ? 'none' : 'as it says there')}`,
  )
  say(`  identities ${settings.DATABASE_URL === undefined ? `kept in ${settings.DATA_FOLDER}` : 'kept in Postgres'}`)
  if (isMade) say(`  API key    ${apiKey} (made for this start; set API_KEY to keep one)`)
  else say(apiKey === undefined ? '  API key    of those that were issued' : '  API key    the one in API_KEY')
  // A key that lasts is not repeated, terminals are recorded: the shell puts it in, so that header is in double quotes.
  const header = isMade ? `'Authorization: Bearer ${apiKey}'` : '"Authorization: Bearer $API_KEY"'
  const body = `'{"text": "Where is the train station?"}'`
  say(`  try it:\n\ncurl -s ${url}/v1/predict -H ${header} -H 'Content-Type: application/json' -d ${body}\n`)
}

/** First signal: finish what is open, within the bound. Second signal: cut what is open now. Third: leave at once. */
function endOnSignals(server: Server, gate: Gate, settings: Settings, { database }: Stores): void {
  let signals = 0
  const cut = async (exitCode: number) => {
    server.close()
    server.closeAllConnections()
    // Every request hears first that its caller is gone, so that what was sent upstream is billed and logged; then the upstreams are closed.
    await gate.draining.idle(1000)
    try {
      await gate.service.close()
    } catch (error) {
      // A model still computes. Ending the process from within would abort it in native code: a clean kill is the better end.
      complain('Closing the models failed', error)
      gate.flush()
      process.kill(process.pid, 'SIGKILL')
    }
    // Bounded by the store's own timeouts; a connection that is cut loses nothing that was answered.
    // What is not written by then waits in the data folder.
    await gate.writer.close(2_000)
    await Promise.race([database.close(), sleep(2_000)]).catch(() => {})
    gate.flush()
    process.exit(exitCode)
  }
  const end = async (signal: string) => {
    signals += 1
    if (signals > 2) process.exit(1)
    if (signals === 2) return cut(1)
    say(`${signal}: draining ${gate.draining.open} open requests, ${settings.DRAIN_SECONDS} s at most`)
    gate.ready.draining = true
    gate.draining.begin()
    const idle = await gate.draining.idle(settings.DRAIN_SECONDS * 1000)
    if (!idle) say(`${gate.draining.open} requests did not end in time and are cut`)
    if (signals === 1) await cut(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end(signal))
}

function endIfMistaken(begin: () => void): void {
  try {
    begin()
  } catch (error) {
    if (!(error instanceof SettingsError) && !isTollgateError(error, 'config_invalid')) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}

endIfMistaken(start)
