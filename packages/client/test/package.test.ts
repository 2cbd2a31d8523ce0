import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

// The package as an installer gets it: what `pnpm build` left in dist, and nothing of the workspace.
const root = fileURLToPath(new URL('../', import.meta.url))
const dist = join(root, 'dist')
const resolveFrom = createRequire(import.meta.url)
const compiler = join(dirname(resolveFrom.resolve('typescript/package.json')), 'bin', 'tsc')

const consumer = `
import { createClient, isTollgateClientError, responseOf, type ChatChunk, type ClientError } from '@tollgate/client'
const client = createClient({ baseUrl: 'https://gate.example.com', apiKey: 'k', fetch: globalThis.fetch })
const answer = await client.chat({ model: 'm', messages: [{ role: 'user', content: 'hi' }] })
export const content: string | null | undefined = answer.choices[0]?.message.content
export const left: number | undefined = responseOf(answer)?.rateLimit?.policies[0]?.remaining
export const vector: Float32Array | undefined = (await client.embed({ model: 'e', input: 'a' })).embeddings[0]
const stream = client.chat.stream({ model: 'm', messages: [] })
for await (const chunk of stream) { const one: ChatChunk = chunk; one.choices[0]?.delta.content }
export const address: string | undefined = (await client.images.generate({ prompt: 'a fox' })).data[0]?.url
for await (const event of client.images.edit.stream({ prompt: 'x', image: new Uint8Array(1) })) event.b64_json satisfies string
export const sound: ReadableStream<Uint8Array> = (await client.audio.speech({ input: 'hi', voice: 'alloy' })).body
export const text: string = (await client.audio.transcribe({ file: { content: new Blob([]), name: 'a.wav' } })).text
for await (const event of client.audio.transcribe.stream({ file: sound })) if (event.type === 'transcript.text.delta') event.delta satisfies string
for (const item of await client.predictBatch([[1]])) {
  if (item.status === 'ok') item.value.prediction
  else item.error.code
}
try { await client.inference({ prompt: 'hi' }) } catch (error) {
  if (isTollgateClientError(error) && error.kind === 'api') error.problem?.errors?.[0]?.path satisfies string | undefined
}
export type Kind = ClientError['kind']
// @ts-expect-error a prompt is needed
client.inference({})
// @ts-expect-error a path is no file
client.audio.translate({ file: '/tmp/a.wav' })
// @ts-expect-error there is no such option
createClient({ baseUrl: '', timeout: 5 })
`

let folder: string

beforeAll(() => {
  expect(existsSync(join(dist, 'index.d.ts')), 'build the package first').toBe(true)
  folder = mkdtempSync(join(tmpdir(), 'tollgate-client-'))
  const installed = join(folder, 'node_modules', '@tollgate', 'client')
  mkdirSync(installed, { recursive: true })
  cpSync(dist, join(installed, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(installed, 'package.json'))
  symlinkSync(join(root, 'node_modules', 'ky'), join(folder, 'node_modules', 'ky'))
  symlinkSync(join(root, 'node_modules', '@types'), join(folder, 'node_modules', '@types'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'consumer.ts'), consumer)
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the published package', () => {
  it('imports nothing but ky and its own files', () => {
    for (const name of readdirSync(dist).filter((file) => /\.(?:js|d\.ts)$/.test(file))) {
      const text = readFileSync(join(dist, name), 'utf8')
      // Not the text 'from' itself, which is the name of a parameter.
      const specifiers = [...text.matchAll(/(?<!["'])\b(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map(
        ([, specifier]) => specifier,
      )
      const foreign = specifiers.filter((specifier) => specifier !== 'ky' && !/^\.\/[\w-]+\.js$/.test(specifier ?? ''))
      expect(foreign, name).toEqual([])
      expect(text, name).not.toMatch(/node:|@types\/node|reference types|\bBuffer\b|\bNodeJS\b/)
    }
    expect(Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies)).toEqual(['ky'])
  })

  it.each([
    [
      'NodeNext, in a browser',
      { module: 'nodenext', moduleResolution: 'nodenext', lib: 'es2022,dom,dom.iterable', types: '' },
    ],
    [
      'Bundler, in a browser',
      { module: 'esnext', moduleResolution: 'bundler', lib: 'es2022,dom,dom.iterable', types: '' },
    ],
    [
      'NodeNext, with the types of Node alone',
      { module: 'nodenext', moduleResolution: 'nodenext', lib: 'es2022', types: 'node' },
    ],
  ])('type-checks its declarations and a consumer: %s', (_, { module, moduleResolution, lib, types }) => {
    const compilerOptions = {
      target: 'es2022',
      module,
      moduleResolution,
      lib: lib.split(','),
      types: types === '' ? [] : [types],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    try {
      execFileSync(process.execPath, [compiler, '-p', folder], { encoding: 'utf8' })
    } catch (error) {
      expect((error as { stdout: string }).stdout).toBe('')
    }
  })
})
