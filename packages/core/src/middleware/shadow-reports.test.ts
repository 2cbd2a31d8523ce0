import { expect, it } from 'vitest'
import { TollgateError } from '../errors.js'
import { prometheusRegistry } from './prometheus-registry.js'
import { type ShadowReport, shadowReports } from './shadow-reports.js'

it('counts and logs what became of shadows, and nothing that was said', async () => {
  const registry = prometheusRegistry()
  const lines: object[] = []
  const write = (level: string) => (fields: object, message?: string) => void lines.push({ level, message, ...fields })
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  const report = shadowReports({ registry, log })
  const of: ShadowReport = {
    outcome: 'ok',
    requestId: 'r',
    target: { provider: 'p', model: 'm' },
    usage: { inputTokens: 3, outputTokens: 2, estimated: false },
    latencyMs: 1_500,
    answered: { latencyMs: 20 },
  }
  const said = { output: { text: 'secret' }, principal: { subject: 'ada' } }
  report({ ...of, ...said } as ShadowReport)
  report({ ...of, outcome: 'failed', error: new TollgateError('upstream_failed', 'sk-secret') })
  report({ ...of, outcome: 'failed', error: new Error('secret') })
  report({ ...of, outcome: 'dropped', usage: { inputTokens: 0, outputTokens: 0, estimated: false } })
  const text = await registry.expose('prometheus')
  expect(text).toContain('tollgate_shadow_calls_total{provider="p",model="m",outcome="ok"} 1')
  expect(text).toContain('tollgate_shadow_calls_total{provider="p",model="m",outcome="failed"} 2')
  expect(text).toContain('tollgate_shadow_calls_total{provider="p",model="m",outcome="dropped"} 1')
  expect(text).toContain('tollgate_shadow_tokens_total{provider="p",model="m",type="output"} 6')
  expect(text).toContain('tollgate_shadow_duration_seconds_count{provider="p",model="m"} 1')
  const line = { request_id: 'r', provider: 'p', model: 'm', message: 'shadow', answered_ms: 20, duration_ms: 1_500 }
  expect(lines).toMatchObject([
    { ...line, level: 'info', outcome: 'ok', prompt_tokens: 3, completion_tokens: 2 },
    { ...line, level: 'warn', outcome: 'failed', error: 'upstream_failed' },
    { ...line, level: 'warn', error: 'internal' },
    { ...line, level: 'info', outcome: 'dropped' },
  ])
  expect(`${text}${JSON.stringify(lines)}`).not.toMatch(/secret|ada/)
})
