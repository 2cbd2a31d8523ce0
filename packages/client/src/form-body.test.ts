import { describe, expect, it } from 'vitest'
import { failure } from '../test/fixture-server.js'
import { formBody } from './form-body.js'

const read = (form: ReturnType<typeof formBody>) =>
  new Request('http://localhost/', {
    method: 'POST',
    headers: { 'content-type': form.contentType },
    body: form.body,
    duplex: 'half',
  } as RequestInit)
/** Names and values in the order in which they are sent. */
const entries = async (form: ReturnType<typeof formBody>) => [...(await read(form).formData()).entries()]
const chunks = (...texts: string[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const text of texts) controller.enqueue(new TextEncoder().encode(text))
      controller.close()
    },
  })

describe('formBody', () => {
  it('puts the model first and files last, whatever the order of the fields', async () => {
    const request = {
      image: new Blob(['png']),
      prompt: 'a fox',
      n: 2,
      model: 'gpt-image-1',
      mask: undefined,
      user: null,
    }
    const names = (await entries(formBody(request, ['image', 'mask']))).map(([name]) => name)
    expect(names).toEqual(['model', 'prompt', 'n', 'image'])
  })

  it('writes lists and objects as OpenAI reads them', async () => {
    const form = formBody(
      { include: ['a', 'b'], chunking_strategy: { type: 'server_vad', threshold: 0.5 }, ok: true },
      [],
    )
    expect(await entries(form)).toEqual([
      ['include[]', 'a'],
      ['include[]', 'b'],
      ['chunking_strategy[type]', 'server_vad'],
      ['chunking_strategy[threshold]', '0.5'],
      ['ok', 'true'],
    ])
  })

  it.each([
    ['a File', new File(['abc'], 'own.mp3', { type: 'audio/mpeg' }), 'own.mp3', 'audio/mpeg'],
    ['a Blob', new Blob(['abc'], { type: 'audio/x-wav' }), 'file.wav', 'audio/x-wav'],
    ['bytes', new TextEncoder().encode('abc'), 'file', 'application/octet-stream'],
    ['a view into bytes', new TextEncoder().encode('xabcx').subarray(1, 4), 'file', 'application/octet-stream'],
    ['a buffer of Node', Buffer.from('abc'), 'file', 'application/octet-stream'],
    ['an ArrayBuffer', new TextEncoder().encode('abc').buffer, 'file', 'application/octet-stream'],
    [
      'bytes with a name',
      { content: Buffer.from('abc'), name: 'ä "b"\r\n.wav', type: 'audio/wav' },
      undefined,
      'audio/wav',
    ],
    ['a stream', chunks('a', 'bc'), 'file', 'application/octet-stream'],
    ['a stream with a name', { content: chunks('a', 'bc'), name: 'talk.mp3' }, 'talk.mp3', 'application/octet-stream'],
  ])('takes %s', async (_what, file, name, type) => {
    const form = formBody({ file }, ['file'])
    const text = await read(form).text()
    const filename = name ?? 'ä %22b%22%0D%0A.wav'
    expect(text).toContain(`name="file"; filename="${filename}"\r\nContent-Type: ${type}\r\n\r\nabc\r\n`)
  })

  it('has a length unless a stream is in it, and can then be read again', async () => {
    const { body } = formBody({ model: 'm', file: new Blob(['abc']) }, ['file'])
    expect(body).toBeInstanceOf(Blob)
    expect(await (body as Blob).text()).toBe(await (body as Blob).text())
    expect(formBody({ file: chunks('abc') }, ['file']).body).toBeInstanceOf(ReadableStream)
  })

  it('reads a stream as it is sent, and closes it when the sending ends', async () => {
    let pulled = 0
    const cancelled = Promise.withResolvers<void>()
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1
        controller.enqueue(new Uint8Array(1024))
      },
      cancel: () => cancelled.resolve(),
    })
    const { body } = formBody({ model: 'm', file: endless }, ['file'])
    const reader = (body as ReadableStream<Uint8Array>).getReader()
    for (let piece = 0; piece < 8; piece += 1) await reader.read()
    expect(pulled).toBeLessThan(16)
    await reader.cancel()
    await cancelled.promise
  })

  it.each([
    ['a path', '/tmp/a.wav'],
    ['a number', 7],
    ['an object without content', { name: 'a.wav' }],
    ['content that is none', { content: 'text', name: 'a.wav' }],
  ])('refuses %s for a file', async (_what, file) => {
    const error = await failure((async () => formBody({ file }, ['file']))())
    expect(error).toMatchObject({ kind: 'usage', code: 'request_invalid' })
  })

  it('refuses a field that no form can carry', async () => {
    const error = await failure((async () => formBody({ prompt: () => 'x' }, []))())
    expect(error).toMatchObject({ code: 'request_invalid', message: expect.stringContaining('prompt') })
  })
})
