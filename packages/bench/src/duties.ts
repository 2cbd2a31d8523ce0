import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Rig, startSubject } from './measure.ts'
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
 * Starts a subject, sends it every kind of request there is and checks what it says it does: right answers to both scenarios, and for a
 * gate: no entry without credentials, security headers, limits told, and for Tollgate the log, the metrics and the money to the last digit.
 * Asserts nothing on time.
 */
export async function checkDuties(rig: Rig, subject: Subject): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
  const logFile = join(folder, 'log')
  const running = await startSubject(rig, subject, { LOG_FILE: logFile })
  let stopped = false
  try {
    await running.run('json', requests)
    await running.run('stream', requests)
    if (subject.credentials === 'none') return
    const before = await rig.upstream.ask('answered', undefined)
    for (const authorization of [undefined, 'Bearer nonsense', `Bearer ${apiKeys[0]}x`, 'Bearer a.b.c']) {
      assert.equal((await send(running.origin, authorization)).status, 401, `${subject.name}: ${authorization}`)
    }
    assert.equal(await rig.upstream.ask('answered', undefined), before, 'a refused request reached the upstream')

    const [authorization] = authorizations(subject.credentials)
    const admitted = await send(running.origin, authorization)
    assert.equal(await admitted.text(), expectedAnswer.json)
    assert.equal(admitted.headers.get('x-content-type-options'), 'nosniff')
    assert.ok(admitted.headers.has('ratelimit'), 'the rate limit is not told')

    const metrics = await (
      await fetch(new URL('/metrics', running.origin), { headers: { authorization: authorization ?? '' } })
    ).text()
    const counted = total(
      metrics,
      /^(?:tollgate_requests_total|http_request_duration_seconds_count)\{.*status_code="200"/,
    )
    assert.equal(counted, 2 * requests + 1, 'the metrics miss requests')
    if (subject.file.includes('tollgate')) {
      const nanoUsd = Math.round(total(metrics, /^tollgate_cost_usd_total\{/) * 1e9)
      assert.equal(nanoUsd, (2 * requests + 1) * costNanoUsdPerAnswer, 'the metrics miss money')
      await running.stop()
      stopped = true
      checkLog(readFileSync(logFile, 'utf8'))
    }
  } finally {
    if (!stopped) await running.stop()
    rmSync(folder, { recursive: true })
  }
}

function checkLog(text: string): void {
  const lines = text.trim().split('\n')
  const answered = lines.map((line) => JSON.parse(line) as { status?: unknown }).filter(({ status }) => status === 200)
  assert.equal(answered.length, 2 * requests + 1, 'the log misses requests')
  for (const authorization of [...authorizations('api-key'), ...authorizations('jwt')]) {
    const secret = authorization.slice('Bearer '.length)
    assert.ok(!text.includes(secret), 'the log tells a credential')
  }
}

function send(origin: string, authorization: string | undefined): Promise<Response> {
  return fetch(new URL(chatPath, origin), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
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
