import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { isTollgateError } from '@tollgate/core/errors'
import { type PostgresIdentityStore, postgresIdentityStore } from '@tollgate/postgres'
import { type Gate, makeGate } from './app.js'
import { defaultModels, embeddedNames } from './models.js'
import { hasUpstream, readSettings, type Settings, SettingsError } from './settings.js'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** For people at the terminal; requests are logged as JSON lines. */
const say = (text: string) => process.stdout.write(`${text}\n`)

function start(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
  const settings = readSettings(process.env, embeddedNames)
  const apiKey = settings.API_KEY ?? `tg_dev_${randomBytes(24).toString('base64url')}`
  const jwtSecret = settings.JWT_SECRET ?? randomBytes(48).toString('base64url')
  const identities = identityStore(settings)
  const gate = makeGate({ settings, version, apiKey, jwtSecret, ...(identities === undefined ? {} : { identities }) })
  const server = createServer(gate.app)
  // Streams may last as long as the request's own deadline; what this bounds is the arrival of a request.
  server.requestTimeout = 120_000
  server.once('error', (error: NodeJS.ErrnoException) => {
    const mend = error.code === 'EADDRINUSE' ? `: port ${settings.PORT} is taken, set PORT to another one` : ''
    process.stderr.write(`Cannot listen on ${settings.HOST}:${settings.PORT} (${error.code})${mend}\n`)
    void endUnheard(gate)
  })
  server.listen(settings.PORT, settings.HOST, () => {
    const { port } = server.address() as AddressInfo
    greet(
      settings,
      apiKey,
      `http://${settings.HOST === '0.0.0.0' || settings.HOST === '::' ? 'localhost' : settings.HOST}:${port}`,
    )
  })
  endOnSignals(server, gate, settings, identities)
}

/** Ending while models load would abort the process in native code: they come up first, then they are closed. */
async function endUnheard({ service }: Gate): Promise<void> {
  const closed = service.ready().then(() => service.close())
  await Promise.race([closed, sleep(10_000)]).catch(() => {})
  process.exit(1)
}

function identityStore({ DATABASE_URL: url, IDENTITY_SECRET: secret }: Settings): PostgresIdentityStore | undefined {
  if (url === undefined || secret === undefined) return undefined
  return postgresIdentityStore({
    connection: { url },
    secret,
    onError: (error) => process.stderr.write(`Identities: ${error instanceof Error ? error.message : String(error)}\n`),
  })
}

function greet(settings: Settings, apiKey: string, url: string): void {
  const defaults = defaultModels(settings)
  const upstream = hasUpstream(settings)
    ? `upstream: ${settings.OPENAI_BASE_URL ?? 'https://api.openai.com/v1'}`
    : 'echo (for development)'
  const ownKey = settings.API_KEY !== undefined
  say(`Tollgate ${version} listens on ${url}`)
  say(`  models     language-id, iris (embedded); ${upstream}; default: ${defaults.generate ?? 'none'}`)
  say(
    ownKey
      ? '  API key    the one in API_KEY'
      : `  API key    ${apiKey} (made for this start; set API_KEY to keep one)`,
  )
  // The operator's own key is not repeated, terminals are recorded: the shell puts it in, so that header is in double quotes.
  const header = ownKey ? '"Authorization: Bearer $API_KEY"' : `'Authorization: Bearer ${apiKey}'`
  const body = `'{"text": "Where is the train station?"}'`
  say(`  try it:\n\ncurl -s ${url}/v1/predict -H ${header} -H 'Content-Type: application/json' -d ${body}\n`)
}

/** First signal: finish what is open, within the bound. Second signal: cut what is open now. Third: leave at once. */
function endOnSignals(server: Server, gate: Gate, settings: Settings, identities?: PostgresIdentityStore): void {
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
      process.stderr.write(`Closing the models failed: ${error instanceof Error ? error.message : String(error)}\n`)
      gate.flush()
      process.kill(process.pid, 'SIGKILL')
    }
    // Bounded by the store's own timeouts; a connection that is cut loses nothing that was answered.
    await Promise.race([identities?.close(), sleep(2_000)]).catch(() => {})
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

try {
  start()
} catch (error) {
  if (!(error instanceof SettingsError) && !isTollgateError(error, 'config_invalid')) throw error
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}
