import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Rig, type RunningSubject, startSubject } from './measure.ts'
import type { Subject } from './subjects.ts'
import {
  apiKeys,
  authorizations,
  callerCount,
  chatPath,
  costNanoUsdPerAnswer,
  expectedAnswer,
  requestBody,
} from './traffic.ts'

/** Requests per scenario. */
const requests = 3 * callerCount

/**
 * Starts a subject, sends it every kind of request there is and checks that it does what it is timed for: right answers to both scenarios;
 * for a gate, no entry without credentials, security headers, the limit told, every request counted; for Tollgate also every request
 * logged, no credential told, and the money right to the last digit. Asserts nothing on time.
 */
export async function checkDuties(rig: Rig, subject: Subject): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
  const logFile = join(folder, 'log')
  try {
    const running = await startSubject(rig, subject, { LOG_FILE: logFile })
    const scenarios = subject.scenarios ?? (['json', 'stream'] as const)
    try {
      const calls = await countCalls(rig, async () => {
        for (const scenario of scenarios) await running.run(scenario, requests)
      })
      // Concurrent misses of one caller share a call, so this is exact.
      assert.equal(calls, subject.caches ? callerCount : scenarios.length * requests, `${subject.name}: upstream calls`)
      if (subject.credentials === 'none') return
      const more = await countCalls(rig, () => checkGate(subject, running))
      await checkMetrics(subject, running, scenarios.length * requests + 1, calls + more)
    } finally {
      await running.stop()
    }
    if (isTollgate(subject)) checkLog(readFileSync(logFile, 'utf8'), scenarios.length * requests + 1)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What a stranger and a caller see. Admits one request. */
async function checkGate(subject: Subject, running: RunningSubject): Promise<void> {
  for (const wrong of [undefined, 'Bearer nonsense', `Bearer ${apiKeys[0]}x`, 'Bearer a.b.c']) {
    assert.equal((await send(running, wrong)).status, 401, `${subject.name}: ${wrong}`)
  }
  const admitted = await send(running, authorizations(subject.credentials)[0])
  assert.equal(await admitted.text(), expectedAnswer.json)
  assert.equal(admitted.headers.get('x-content-type-options'), 'nosniff')
  assert.ok(admitted.headers.has('ratelimit'), `${subject.name}: the limit is not told`)
}

/** @param calls requests that reached the upstream: none of the refused, each of them paid for */
async function checkMetrics(subject: Subject, running: RunningSubject, admitted: number, calls: number): Promise<void> {
  const authorization = authorizations(subject.credentials)[0] ?? ''
  const text = await (await fetch(new URL('/metrics', running.origin), { headers: { authorization } })).text()
  const counted = total(text, /^http_(?:server_)?request_duration_seconds_count\{.*status_code="200"/)
  assert.equal(counted, admitted, `${subject.name}: the metrics miss requests`)
  if (!isTollgate(subject)) return
  if (!subject.caches) assert.equal(calls, admitted, `${subject.name}: a refused request reached the upstream`)
  const nanoUsd = Math.round(total(text, /^tollgate_cost_usd_total\{/) * 1e9)
  assert.equal(nanoUsd, calls * costNanoUsdPerAnswer, `${subject.name}: the metrics miss money`)
}

function checkLog(text: string, admitted: number): void {
  const lines = text.trim().split('\n')
  const chats = lines.map((line) => JSON.parse(line) as { path?: unknown; status?: unknown })
  assert.equal(chats.filter(({ path, status }) => path === chatPath && status === 200).length, admitted)
  for (const authorization of [...authorizations('api-key'), ...authorizations('jwt')]) {
    assert.ok(!text.includes(authorization.slice('Bearer '.length)), 'the log tells a credential')
  }
}

function isTollgate(subject: Subject): boolean {
  return subject.file.includes('tollgate')
}

/** How many requests reached the upstream meanwhile. */
async function countCalls(rig: Rig, work: () => Promise<void>): Promise<number> {
  const before = await rig.upstream.ask('answered', undefined)
  await work()
  return (await rig.upstream.ask('answered', undefined)) - before
}

function send({ origin }: RunningSubject, authorization: string | undefined): Promise<Response> {
  return fetch(new URL(chatPath, origin), {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(authorization === undefined ? {} : { authorization }),
    },
    body: requestBody.json,
  })
}

/** The sum of all samples whose line begins so. */
function total(metrics: string, line: RegExp): number {
  return metrics
    .split('\n')
    .filter((sample) => line.test(sample))
    .reduce((sum, sample) => sum + Number(sample.slice(sample.lastIndexOf(' ') + 1)), 0)
}
