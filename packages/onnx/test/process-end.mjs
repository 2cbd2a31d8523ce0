// Started by onnx-provider.test.ts with the name of a scene; every scene must end by itself with exit code 0.
import { embeddedModels, onnxProvider } from '../dist/index.js'

const say = (line) => process.stdout.write(`${line}\n`)
const scene = process.argv[2]
const call = { signal: new AbortController().signal, requestId: 'test' }
const rows = Array.from({ length: 256 }, (_, index) => ({
  text: `where is the station ${'abcdefghij'[index % 10]} `.repeat(20),
}))

if (scene !== 'imported') {
  const provider = onnxProvider({ models: embeddedModels() })
  if (scene !== 'made') await provider.ready()
  const model = provider.model('predict', 'language-id')
  if (scene === 'idle') await model.run({ rows }, call)
  if (scene === 'busy') for (let run = 0; run < 5; run += 1) void model.run({ rows }, call).then(() => say('answered'))
  if (scene === 'left') void model.run({ rows }, { ...call, signal: AbortSignal.timeout(1) }).catch(() => say('left'))
  if (scene === 'closed while busy') {
    void model.run({ rows }, call).then(() => say('answered'))
    await provider.close()
  }
}
say('end of main')
