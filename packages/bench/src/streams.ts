import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { operatorKey, startServer } from './reference-server.ts'

// Many streams at once through the reference server: every event arrives once, in its order, at whom it is for. Half of the callers leave half way: their upstream sockets close, and the others notice nothing.

const tickMs = 20
const say = (text: string) => process.stdout.write(`${text}\n`)

if (isMainThread) process.exitCode = (await main()) ? 0 : 1
else upstream()

interface Asked {
  readonly stream: number
  readonly events: number
}

/** In a thread of its own: an event for every stream at each tick. */
function upstream(): void {
  const open = new Set<{ readonly res: ServerResponse; readonly asked: Asked; next: number }>()
  let broken = 0
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const body = JSON.parse(Buffer.concat(chunks).toString()) as { messages: [{ content: string }] }
    const entry = { res, asked: JSON.parse(body.messages[0].content) as Asked, next: 0 }
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    open.add(entry)
    res.once('close', () => {
      open.delete(entry)
      if (!res.writableFinished) broken += 1
    })
  })
  const send = (res: ServerResponse, fields: object) =>
    res.write(
      `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', ...fields })}\n\n`,
    )
  setInterval(() => {
    for (const entry of open) {
      const { res, asked, next } = entry
      entry.next += 1
      if (next < asked.events) {
        const content = `${asked.stream}:${next}:${Date.now()} `
        send(res, { choices: [{ index: 0, delta: { content }, finish_reason: null }] })
        continue
      }
      send(res, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })
      send(res, { choices: [], usage: { prompt_tokens: 1, completion_tokens: next, total_tokens: next + 1 } })
      res.end('data: [DONE]\n\n')
      open.delete(entry)
    }
  }, tickMs)
  server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port))
  parentPort?.on('message', () => parentPort?.postMessage({ broken, open: open.size }))
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: { streams: { type: 'string', default: '512' }, seconds: { type: 'string', default: '20' } },
  })
  const [count, events] = [Number(values.streams), Number(values.seconds) * (1_000 / tickMs)]
  const worker = new Worker(new URL(import.meta.url))
  const [port] = (await once(worker, 'message')) as [number]
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-streams-'))
  const { child, url } = await startServer(folder, {
    API_KEY: operatorKey,
    OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`,
    MODEL_NAME: 'm',
    PRICES: JSON.stringify({ m: { usdPerMillionTokens: { input: '1', output: '2' } } }),
    RATE_LIMIT_ENTERPRISE: '1000000',
    LOG_LEVEL: 'silent',
    METRICS_PUBLIC: 'true',
  })
  say(`${count} streams of ${events} events, ${1_000 / tickMs} a second each; every second caller leaves half way`)
  const memory: number[] = []
  const watching = setInterval(() => memory.push(residentMb(child)), 500)
  try {
    const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY })
    const results = await Promise.all(
      Array.from({ length: count }, (_, stream) => read(url, agent, { stream, events }, stream % 2 === 1)),
    )
    clearInterval(watching)
    // What was left is closed by now, and nothing is open any more.
    await wait(500)
    worker.postMessage('count')
    const [{ broken, open }] = (await once(worker, 'message')) as [{ broken: number; open: number }]
    return report(results, { broken, open, memory, events })
  } finally {
    clearInterval(watching)
    child.kill('SIGKILL')
    await worker.terminate()
    await rm(folder, { recursive: true, force: true })
  }
}

interface Result {
  readonly left: boolean
  /** The terminal event came. */
  readonly done: boolean
  readonly received: number
  /** Not the next one, or not ours. */
  readonly wrong: number
  readonly delaysMs: readonly number[]
}

/** Reads one stream to its end, or to its middle. */
async function read(url: string, agent: Agent, asked: Asked, leaves: boolean): Promise<Result> {
  const body = JSON.stringify({
    model: 'm',
    stream: true,
    messages: [{ role: 'user', content: JSON.stringify(asked) }],
  })
  const headers = { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' }
  const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent, headers })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  let [text, received, wrong, done] = ['', 0, 0, false]
  const delaysMs: number[] = []
  try {
    for await (const chunk of answer.setEncoding('utf8')) {
      text += chunk as string
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const event = text.slice(0, end)
        text = text.slice(end + 2)
        if (event === 'data: [DONE]') done = true
        const found = /"content":"(\d+):(\d+):(\d+) "/.exec(event)
        if (found === null) continue
        const [, stream, number, at] = found.map(Number)
        if (stream !== asked.stream || number !== received) wrong += 1
        received += 1
        delaysMs.push(Date.now() - (at ?? 0))
      }
      if (leaves && received >= asked.events / 2) {
        answer.destroy()
        break
      }
    }
  } catch {
    // Told by `done`.
  }
  return { left: leaves, done, received, wrong, delaysMs }
}

function report(
  results: readonly Result[],
  { broken, open, memory, events }: { broken: number; open: number; memory: readonly number[]; events: number },
): boolean {
  const stayed = results.filter(({ left }) => !left)
  const left = results.length - stayed.length
  const lost = stayed.reduce((sum, { received }) => sum + events - received, 0)
  const wrong = results.reduce((sum, result) => sum + result.wrong, 0)
  const unfinished = stayed.filter(({ done }) => !done).length
  const delays = results.flatMap(({ delaysMs }) => delaysMs).sort((one, other) => one - other)
  const at = (part: number) => delays[Math.min(delays.length - 1, Math.floor(delays.length * part))] ?? Number.NaN
  // After the start, and at the end, when half of the callers have gone.
  const [early, late] = [memory.slice(2, 6), memory.slice(-4)].map(
    (some) => some.reduce((sum, each) => sum + each, 0) / Math.max(1, some.length),
  ) as [number, number]
  say(
    `events: ${delays.length} received, ${lost} lost, ${wrong} reordered or another's; ${unfinished} streams not ended`,
  )
  say(`callers: ${left} left, ${broken} upstream sockets closed for it, ${open} still open`)
  say(`delay from the upstream to the caller: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
  say(`memory of the server: ${early.toFixed(0)} MB at the beginning, ${late.toFixed(0)} MB at the end`)
  const isRight = lost === 0 && wrong === 0 && unfinished === 0 && broken === left && open === 0
  const isFlat = Number.isNaN(early) || late < early * 1.5
  say(isRight && isFlat ? 'every event arrived' : 'NOT every event arrived, or memory grew')
  return isRight && isFlat
}

function residentMb({ pid }: ChildProcess): number {
  try {
    const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return Number(kilobytes) / 1_024
  } catch {
    // Only Linux tells.
    return Number.NaN
  }
}
