import { execFile } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { address, startProcess } from './server-process.js'

describe('the server as a process', () => {
  it('says its address, a ready-made key and a curl line that works as it is', async () => {
    const server = startProcess({})
    const [, line = ''] = await server.said(/^(curl .*)$/m)
    expect(server.output()).toMatch(/API key {4}tg_dev_[\w-]{32} /)
    const { stdout } = await promisify(execFile)('bash', ['-c', line])
    expect(JSON.parse(stdout)).toMatchObject({ prediction: 'en', label: 'en', model_version: '1.0.0' })
    server.child.kill('SIGTERM')
    expect(await server.ended).toBe(0)
  })

  it('takes API_KEY and an .env file, and does not repeat the key', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-'))
    writeFileSync(join(folder, '.env'), 'API_KEY=key-of-the-env-file-0123\nLOG_LEVEL=silent\n')
    const server = startProcess({}, folder)
    const [, url = ''] = await server.said(address)
    const headers = { 'x-api-key': 'key-of-the-env-file-0123' }
    expect((await fetch(`${url}/v1/models`, { headers })).status).toBe(200)
    expect((await fetch(`${url}/v1/models`)).status).toBe(401)
    expect(server.output()).not.toContain('key-of-the-env-file')
  })

  it('lists all mistakes of its settings at once, and ends', async () => {
    const server = startProcess({ PORT: 'x', LOG_LEVEL: 'loud', MODEL_NAME: 'gpt-4o' })
    expect(await server.ended).toBe(1)
    for (const name of ['PORT: ', 'LOG_LEVEL: ', 'MODEL_NAME: ']) expect(server.output()).toContain(name)
  })

  it('asks for IDENTITY_SECRET with DATABASE_URL', async () => {
    const server = startProcess({ DATABASE_URL: 'postgres://localhost/none' })
    expect(await server.ended).toBe(1)
    expect(server.output()).toContain('IDENTITY_SECRET: is needed with DATABASE_URL')
  })

  it('says what to do when its port is taken', async () => {
    const first = startProcess({})
    const [, url = ''] = await first.said(address)
    const second = startProcess({ PORT: new URL(url).port })
    expect(await second.ended).toBe(1)
    expect(second.output()).toContain('set PORT to another one')
  })
})
