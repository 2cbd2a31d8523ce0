import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type FileHandle, mkdtemp, open, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Ledger, LedgerRow } from './ledger.js'
import { ledgerWriter } from './ledger-writer.js'
import { memoryLedger } from './memory-ledger.js'

const row = (more: Partial<LedgerRow> = {}): LedgerRow => ({
  id: randomUUID(),
  at: Date.now(),
  durationMs: 1,
  requestId: 'r',
  tenant: 'acme',
  user: 'ada',
  outcome: 'ok',
  status: 200,
  ...more,
})
const all = { from: 0, to: 1e14, limit: 10_000 }
const idsOf = async (ledger: Ledger) => (await ledger.rows(all)).items.map(({ id }) => id).sort()

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-spool-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A ledger that can be down, and answers late. */
function shaky() {
  const ledger = memoryLedger()
  const state = { down: false, batches: 0 }
  const append: Ledger['append'] = async (rows) => {
    state.batches += 1
    if (state.down) throw new Error('db.internal is away')
    await ledger.append(rows)
  }
  return Object.assign(state, { ledger: { ...ledger, append } as Ledger })
}

describe.each([
  ['a folder', true],
  ['memory', false],
] as const)('ledgerWriter with %s', (_name, hasFolder) => {
  const make = async (ledger: Ledger, more: object = {}) => {
    const errors: unknown[] = []
    const folder = hasFolder ? { folder: await newFolder() } : {}
    const writer = ledgerWriter({ ledger, everyMs: 20, onError: (error) => errors.push(error), ...folder, ...more })
    onTestFinished(() => writer.close())
    return { writer, errors, ...folder }
  }

  it('writes all rows by itself, in batches', async () => {
    const { ledger, ...state } = shaky()
    const { writer } = await make(ledger)
    const rows = Array.from({ length: 2_500 }, () => row())
    for (const each of rows) writer.append(each)
    await expect.poll(() => idsOf(ledger)).toEqual(rows.map(({ id }) => id).sort())
    expect(state.batches).toBeLessThan(50)
    expect(writer.state()).toEqual({ failing: false, lost: 0 })
  })

  it('flushes at once, and at its end', async () => {
    const ledger = memoryLedger()
    const { writer } = await make(ledger, { everyMs: 60_000 })
    writer.append(row())
    await writer.flush()
    expect(await idsOf(ledger)).toHaveLength(1)
    writer.append(row())
    await writer.close()
    expect(await idsOf(ledger)).toHaveLength(2)
  })

  it('goes on when the ledger is back, with each row once', async () => {
    const down = shaky()
    const { writer, errors } = await make(down.ledger)
    down.down = true
    const rows = Array.from({ length: 700 }, () => row())
    for (const each of rows) writer.append(each)
    await expect.poll(() => writer.state().failing).toBe(true)
    await expect(writer.flush()).rejects.toThrow('db.internal')
    expect(errors.length).toBeGreaterThan(0)
    down.down = false
    await writer.flush()
    expect(await idsOf(down.ledger)).toEqual(rows.map(({ id }) => id).sort())
    expect(writer.state()).toEqual({ failing: false, lost: 0 })
  })

  it('has a bound, and tells what is lost', async () => {
    const down = shaky()
    down.down = true
    const { writer, errors } = await make(down.ledger, { maxWaiting: hasFolder ? 1_000 : 5 })
    for (let count = 0; count < 50; count += 1) {
      writer.append(row())
      await writer.kept()
    }
    const { lost } = writer.state()
    expect(lost).toBeGreaterThan(30)
    expect(lost).toBeLessThan(50)
    expect(String(errors[0])).toMatch(/lost/)
    down.down = false
    await writer.flush()
    expect(await idsOf(down.ledger)).toHaveLength(50 - lost)
  })
})

it.each([true, false])('a row that is none stops no other (in a folder: %s)', async (hasFolder) => {
  const ledger = memoryLedger()
  const errors: unknown[] = []
  const folder = hasFolder ? { folder: await newFolder() } : {}
  const writer = ledgerWriter({ ledger, everyMs: 60_000, onError: (error) => errors.push(error), ...folder })
  onTestFinished(() => writer.close())
  const wrong: object[] = [{ tenant: undefined }, { user: 7 }, { at: Number.NaN }, { costNanoUsd: 0.5 }, { usage: {} }]
  for (const more of wrong) writer.append(row(more as Partial<LedgerRow>))
  writer.append(row({ id: 'right' }))
  await writer.flush()
  expect(await idsOf(ledger)).toEqual(['right'])
  expect(errors).toHaveLength(wrong.length)
  expect(writer.state()).toEqual({ failing: false, lost: wrong.length })
})

describe('ledgerWriter in a folder', () => {
  it('skips lines that are no rows, and those cut in a character, and goes on', async () => {
    const folder = await newFolder()
    const errors: unknown[] = []
    const [first, second] = [row({ id: 'a' }), row({ id: 'b' })].map((each) => `${JSON.stringify(each)}\n`)
    const cut = Buffer.from(JSON.stringify(row({ user: '你' })))
    const half = cut.subarray(0, cut.indexOf('你') + 1)
    const parts = [`${first}null\n{}\n7\n`, half, `\n${second}`, half].map((part) => Buffer.from(part))
    await writeFile(join(folder, '000000000000001-a.jsonl'), Buffer.concat(parts))
    const ledger = memoryLedger()
    const writer = ledgerWriter({ ledger, folder, everyMs: 60_000, onError: (error) => errors.push(error) })
    onTestFinished(() => writer.close())
    await writer.flush()
    expect(await idsOf(ledger)).toEqual(['a', 'b'])
    expect([errors.length, writer.state().lost]).toEqual([4, 4])
    expect(await readdir(folder)).toEqual([])
  })

  it('writes nothing behind half of a batch, when a disk is full for a while', async () => {
    const folder = await newFolder()
    const ledger = memoryLedger()
    const writer = ledgerWriter({ ledger, folder, everyMs: 60_000, onError: () => {} })
    onTestFinished(() => writer.close())
    const keep = async (id: string) => {
      writer.append(row({ id }))
      await writer.kept()
    }
    await keep('before')
    const [name = ''] = await readdir(folder)
    const file = await open(join(folder, name))
    const handles = Object.getPrototypeOf(file) as FileHandle
    await file.close()
    const full = vi.spyOn(handles, 'appendFile').mockImplementationOnce(async function (this: FileHandle, text) {
      await this.write(String(text).slice(0, 30))
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    })
    onTestFinished(() => full.mockRestore())
    await keep('lost')
    await keep('after')
    await writer.flush()
    expect(await idsOf(ledger)).toEqual(['after', 'before'])
    expect(writer.state()).toEqual({ failing: false, lost: 1 })
  })

  it('leaves what it cannot write to the next, and does not wait for ever at its end', async () => {
    const folder = await newFolder()
    const stuck = { ...memoryLedger(), append: () => new Promise<never>(() => {}) }
    const first = ledgerWriter({ ledger: stuck, folder, onError: () => {} })
    const rows = Array.from({ length: 3 }, () => row({ tags: { 'a\nb': 'c\u2028' } }))
    for (const each of rows) first.append(each)
    await first.close(50)
    const ledger = memoryLedger()
    const second = ledgerWriter({ ledger, folder, everyMs: 20 })
    onTestFinished(() => second.close())
    await expect.poll(() => idsOf(ledger)).toEqual(rows.map(({ id }) => id).sort())
    await expect.poll(() => readdir(folder)).toEqual([])
  })

  it('takes over from a process that was killed in the midst, and loses none that was kept', async () => {
    const folder = await newFolder()
    const source = JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../dist/stores/ledger-writer.js')).href)
    const script = `
      const { ledgerWriter } = await import(${source})
      const ledger = { append: () => new Promise(() => {}) }
      const writer = ledgerWriter({ ledger, folder: ${JSON.stringify(folder)}, everyMs: 5 })
      for (let n = 0; ; n += 1) {
        writer.append({ id: 'row' + n, at: n, durationMs: 1, requestId: 'r', tenant: 't', user: 'u', outcome: 'ok', status: 200 })
        await writer.kept()
        process.stdout.write('row' + n + '\\n')
      }`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      if (said.split('\n').length > 300) child.kill('SIGKILL')
    })
    await once(child, 'close')
    const ledger = memoryLedger()
    const writer = ledgerWriter({ ledger, folder, everyMs: 60_000 })
    onTestFinished(() => writer.close())
    await writer.flush()
    const kept = said.split('\n').slice(0, -1)
    const written = new Set(await idsOf(ledger))
    expect(kept.filter((id) => !written.has(id))).toEqual([])
    // The one that was under way may be there or not.
    expect(written.size - kept.length).toBeLessThanOrEqual(2)
  })

  const unshared = ['--pid', '--fork', process.execPath, '--input-type=module', '--eval']
  const canUnshare = spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0
  it.skipIf(!canUnshare)(
    'leaves the open file of a container alone that has the same name, and processes of its own',
    async () => {
      const folder = await newFolder()
      const source = JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../dist/stores/ledger-writer.js')).href)
      const script = `
      const { ledgerWriter } = await import(${source})
      const ledger = { append: async () => {} }
      const writer = ledgerWriter({ ledger, folder: ${JSON.stringify(folder)}, everyMs: 60000 })
      const row = (id) => ({ id, at: 1, durationMs: 1, requestId: 'r', tenant: 't', user: 'u', outcome: 'ok', status: 200 })
      writer.append(row('first'))
      await writer.kept()
      process.stdout.write('kept')
      process.stdin.once('data', async () => {
        writer.append(row('second'))
        await writer.kept()
        process.exit()
      })`
      // A number that nobody has out here.
      const nobody = vi.spyOn(process, 'kill').mockImplementation(() => {
        throw Object.assign(new Error('no such process'), { code: 'ESRCH' })
      })
      const child = spawn('unshare', [...unshared, script], { stdio: ['pipe', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      const ledger = memoryLedger()
      const writer = ledgerWriter({ ledger, folder, everyMs: 60_000 })
      onTestFinished(() => writer.close())
      await writer.flush()
      child.stdin.end('go on')
      await once(child, 'close')
      nobody.mockRestore()
      const past = new Date(Date.now() - 61_000)
      for (const name of await readdir(folder)) await utimes(join(folder, name), past, past)
      await writer.flush()
      expect(await idsOf(ledger)).toEqual(['first', 'second'])
    },
  )

  it('writes nothing twice that two processes find, and leaves a file alone that another has open', async () => {
    const folder = await newFolder()
    const rows = Array.from({ length: 40 }, () => row())
    const lines = rows.map((each) => `${JSON.stringify(each)}\n`).join('')
    await writeFile(join(folder, '000000000000001-a.jsonl'), `${lines}{"id":"torn`)
    await writeFile(join(folder, '000000000000002-b.open'), lines)
    const ledger = memoryLedger()
    const writers = [1, 2, 3].map(() => ledgerWriter({ ledger, folder, everyMs: 60_000 }))
    await Promise.all(writers.map((writer) => writer.flush()))
    expect((await ledger.sums({ ...all, by: [] })).items[0]?.requests).toBe(40)
    expect(await readdir(folder)).toEqual(['000000000000002-b.open'])
    const past = new Date(Date.now() - 61_000)
    await utimes(join(folder, '000000000000002-b.open'), past, past)
    await writers[0]?.flush()
    expect(await readdir(folder)).toEqual([])
    await Promise.all(writers.map((writer) => writer.close()))
  })

  it('is readable by its user only, and skips a line that is none, saying so', async () => {
    const folder = await newFolder()
    const errors: unknown[] = []
    await writeFile(join(folder, '000000000000001-a.jsonl'), `garbage\n${JSON.stringify(row())}\n`)
    const ledger = memoryLedger()
    const writer = ledgerWriter({ ledger, folder, everyMs: 60_000, onError: (error) => errors.push(error) })
    await writer.flush()
    expect(await idsOf(ledger)).toHaveLength(1)
    expect(String(errors[0])).toContain('garbage')
    writer.append(row())
    await writer.kept()
    const [name = ''] = await readdir(folder)
    expect((await readFile(join(folder, name), 'utf8')).endsWith('}\n')).toBe(true)
    await writer.close()
  })
})

it('refuses options that are none', () => {
  expect(() => ledgerWriter({ ledger: {} as never })).toThrow(/ledger/)
  expect(() => ledgerWriter({ ledger: memoryLedger(), fodler: 'x' } as never)).toThrow(/fodler/)
})
