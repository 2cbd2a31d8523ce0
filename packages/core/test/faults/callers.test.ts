import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { faultGate, type WireName } from './fault-gate.js'
import { type SurfaceName, surfaces } from './surfaces.js'

/** As deep as `JSON.parse` can read and `JSON.stringify` cannot write. */
const depth = 100_000
const deep = `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

/** A body of a surface with further fields, as JSON text. */
const bodyOf = (surface: SurfaceName, fields: string, isStream: boolean) =>
  `${JSON.stringify({ ...surfaces[surface].request('model'), stream: isStream }).slice(0, -1)},${fields}}`

const tool = `{"type":"function","function":{"name":"f","parameters":${deep}}}`
const calls = `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":${deep}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]`

describe('a request that is nested too deeply to be written down again is refused, and not sent', () => {
  it.each<[WireName, SurfaceName, string, string]>([
    ['anthropic', 'chat', 'tools', `"tools":[${tool}]`],
    ['openai', 'chat', 'tools', `"tools":[${tool}]`],
    ['gemini', 'chat', 'tools', `"tools":[${tool}]`],
    [
      'bedrock',
      'chat',
      'a format',
      `"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":${deep}}}`,
    ],
    ['openai', 'messages', 'calls', `"messages":${calls}`],
    ['anthropic', 'messages', 'calls', `"messages":${calls}`],
    ['bedrock', 'messages', 'calls', `"messages":${calls}`],
    ['gemini', 'responses', 'metadata, which are only told back', `"metadata":${deep}`],
    ['gemini', 'responses', 'reasoning', `"reasoning":{"effort":"low","x":${deep}}`],
    ['openai', 'responses', 'metadata', `"metadata":${deep}`],
  ])('%s behind %s: %s', async (wire, surface, _name, fields) => {
    const { url, upstream, rows } = await faultGate(wire)
    for (const isStream of [false, true]) {
      const response = await fetch(`${url}${surfaces[surface].path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: bodyOf(surface, fields, isStream),
      })
      expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('nested too deeply')])
    }
    expect(upstream.requests).toHaveLength(0)
    expect(await rows(2)).toMatchObject([{ outcome: 'error' }, { outcome: 'error' }])
  })
})

it('sends no field of a caller on but those of the API, whatever is in it', async () => {
  const { url, upstream } = await faultGate('anthropic')
  const body = JSON.stringify(surfaces.messages.request('model'))
  const fields = [
    `POST /v1/messages HTTP/1.1`,
    `host: ${new URL(url).host}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    'authorization: Bearer callers-own',
    'x-api-key: callers-own',
    'cookie: callers-own',
    'proxy-authorization: callers-own',
    'te: trailers',
    'x-forwarded-for: callers-own',
    'anthropic-beta: tools-2025, caf\xe9',
    'anthropic-beta: more-2025',
    'anthropic-version: 2023-06-01',
    'anthropic-dangerous: callers-own',
    'connection: close, anthropic-beta',
  ]
  const answer = await raw(url, `${fields.join('\r\n')}\r\n\r\n${body}`)
  expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  const [sent] = upstream.requests
  expect(JSON.stringify(sent?.headers)).not.toContain('callers-own')
  expect(sent?.headers).toMatchObject({ 'anthropic-beta': 'tools-2025, caf\xe9, more-2025' })
  expect(sent?.headers).not.toHaveProperty('te')
})

it('a field that cannot be sent on is refused as the caller’s fault', async () => {
  const { url, upstream } = await faultGate('anthropic')
  const body = JSON.stringify(surfaces.messages.request('model'))
  const head = `POST /v1/messages HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n`
  for (const value of ['a\x7fb', 'a\x01b', 'a\0b']) {
    expect(await raw(url, `${head}anthropic-beta: ${value}\r\n\r\n${body}`)).toMatch(/^HTTP\/1\.1 400 /)
  }
  expect(upstream.requests).toHaveLength(0)
})

/** What a server says to these bytes, until it closes. */
function raw(url: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    let text = ''
    socket
      .setEncoding('latin1')
      .on('data', (chunk: string) => {
        text += chunk
      })
      .on('close', () => resolve(text))
      .on('error', reject)
    socket.write(bytes, 'latin1')
  })
}
