import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { holdFolder } from './folder-lock.js'

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-lock-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

it('is held once, also within a process, until it is let go', async () => {
  const folder = await newFolder()
  const letGo = await holdFolder(folder)
  await expect(holdFolder(folder)).rejects.toThrow(/in use by another process/)
  letGo()
  ;(await holdFolder(folder))()
})

it('is held by one process, and free as soon as that was killed', async () => {
  const folder = await newFolder()
  const source = JSON.stringify(pathToFileURL(join(import.meta.dirname, 'folder-lock.ts')).href)
  const script = `await (await import(${source})).holdFolder(${JSON.stringify(folder)}); console.log('held'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const first = await Promise.race([once(child.stdout, 'data').then(([data]) => String(data)), ended])
  expect(first).toBe('held\n')
  await expect(holdFolder(folder)).rejects.toThrow(/in use by another process/)
  child.kill('SIGKILL')
  await ended
  ;(await holdFolder(folder))()
})
