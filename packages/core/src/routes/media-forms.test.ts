import { tmpdir } from 'node:os'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { form, formType, gc, mebibyte, start, tokenUsage } from '../../test/media-gate.js'
import { answerJson } from '../../test/media-upstream.js'
import { bodyLimit } from '../middleware/body-limit.js'

describe('a form on its way', () => {
  it('reaches the upstream before its caller has sent the rest', async () => {
    const { url, upstream } = await start({ upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }) } })
    const whole = form([
      ['model', 'hear'],
      ['file', Buffer.alloc(mebibyte, 1)],
    ])
    const coming = upstream.next()
    let sendRest = (_rest: Buffer) => {}
    const rest = new Promise<Buffer>((resolve) => {
      sendRest = resolve
    })
    async function* body() {
      yield whole.subarray(0, 500_000)
      yield await rest
    }
    const answer = fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    const call = await coming
    // But for the last piece, which waits for the next.
    await call.reaches(300_000)
    sendRest(whole.subarray(500_000))
    expect((await answer).status).toBe(200)
    expect(
      (await call.body).equals(
        form([
          ['model', 'gpt-4o-transcribe'],
          ['file', Buffer.alloc(mebibyte, 1)],
        ]),
      ),
    ).toBe(true)
  })

  it('passes byte for byte where the name of the model stays', async () => {
    const { url, upstream } = await start()
    const body = Buffer.concat([
      form([
        ['file', Buffer.from('a\r\n--xy')],
        ['model', 'gpt-image-1'],
        ['prompt', 'ü'],
      ]),
      Buffer.from('epilogue'),
    ])
    await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body })
    expect((await upstream.calls[0]?.body)?.equals(body)).toBe(true)
  })

  it.each([
    ['in RFC 2231', "multipart/form-data; boundary=xyz; boundary*=utf-8''other", 'multipart/form-data; boundary=xyz'],
    ['in pieces', 'multipart/form-data; boundary*0=other; boundary=xyz', 'multipart/form-data; boundary=xyz'],
    ['in quotes, with more', 'Multipart/Form-Data; x="a"; boundary="xyz"b', 'multipart/form-data; boundary=xyz'],
    ['that needs its quotes', 'multipart/form-data; boundary="x y"', 'multipart/form-data; boundary="x y"'],
  ])('tells the upstream the one boundary it was read by: %s', async (_how, type, told) => {
    const { url, upstream } = await start()
    const body = form([['model', 'draw']], told.includes('x y') ? 'x y' : 'xyz')
    await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: { 'content-type': type }, body })
    expect(upstream.calls[0]?.headers['content-type']).toBe(told)
  })

  it.each([
    ['ends in a blank', 'multipart/form-data; boundary="xyz "', 'xyz '],
    ['is no ASCII', 'multipart/form-data; boundary=xü', 'xü'],
  ])('is refused with a boundary that %s', async (_why, type, boundary) => {
    const { url, upstream } = await start()
    const body = Buffer.from(form([['model', 'draw']], boundary).toString('utf8'), 'latin1')
    const told = await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: { 'content-type': type }, body })
    expect([told.status, upstream.calls]).toEqual([400, []])
  })

  it('of 50 MB takes no memory, though the upstream is slow to read', async () => {
    const { url, upstream } = await start({
      upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }), reads: 'slowly' },
    })
    const bytes = 50 * mebibyte
    const chunk = Buffer.alloc(65_536, 1)
    let most = 0
    async function* body() {
      yield form([['model', 'hear']]).subarray(0, -'--xyz--\r\n'.length)
      yield Buffer.from('--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
      for (let sent = 0; sent < bytes; sent += chunk.length) {
        if (sent % mebibyte === 0) {
          gc()
          most = Math.max(most, process.memoryUsage().arrayBuffers)
        }
        yield chunk
      }
      yield Buffer.from('\r\n--xyz--\r\n')
    }
    gc()
    const before = process.memoryUsage().arrayBuffers
    const answer = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    expect(answer.status).toBe(200)
    expect(upstream.calls[0]?.received()).toBeGreaterThan(bytes)
    expect(most - before).toBeLessThan(20 * mebibyte)
  })

  it('closes the upstream when its caller leaves in the middle, and costs nothing', async () => {
    const { url, upstream, nextRow, standing } = await start()
    const row = nextRow()
    const coming = upstream.next()
    const leave = new AbortController()
    async function* body() {
      yield form([
        ['model', 'hear'],
        ['file', Buffer.alloc(200_000)],
      ]).subarray(0, 150_000)
      await new Promise(() => {})
    }
    const answer = fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
      signal: leave.signal,
    } as RequestInit)
    const call = await coming
    await call.reaches(100_000)
    leave.abort()
    await expect(answer).rejects.toThrow()
    expect(await call.broken).toBe(true)
    expect(await row).toMatchObject({ outcome: 'aborted', model: 'gpt-4o-transcribe' })
    expect((await row).usage).toBeUndefined()
    expect(await standing()).toMatchObject({ used: 0, held: 0 })
  })

  it('does not wait for ever for the rest of what is on the disk', async () => {
    const { url, upstream } = await start({ spoolFolder: tmpdir(), body: { timeoutMs: 200 } })
    async function* body() {
      yield form([['file', Buffer.alloc(200_000)]]).subarray(0, 150_000)
      await new Promise(() => {})
    }
    const told = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    expect(told.status).toBe(408)
    expect(upstream.calls).toEqual([])
  })

  it('does not wait for ever for a caller who falls silent half way, and lets the upstream go', async () => {
    const { url, upstream, nextRow } = await start({ body: { timeoutMs: 100 } })
    const coming = upstream.next()
    const row = nextRow()
    async function* body() {
      yield form([['model', 'draw']]).subarray(0, -9)
      yield Buffer.from('--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
      yield Buffer.alloc(100_000, 1)
      await new Promise(() => {})
    }
    const told = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    expect(told.status).toBe(408)
    expect(await (await coming).broken).toBe(true)
    expect(await row).toMatchObject({ outcome: 'error', error: 'request_timeout' })
  })

  it('is refused when it breaks half way, and the upstream is let go', async () => {
    const { url, upstream, nextRow } = await start()
    for (const body of [
      form([
        ['model', 'draw'],
        ['image', Buffer.alloc(500_000)],
        ['model', 'other'],
      ]),
      form([
        ['model', 'draw'],
        ['image', Buffer.alloc(500_000)],
      ]).subarray(0, -4),
    ]) {
      const row = nextRow()
      const coming = upstream.next()
      const answer = await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body })
      expect([answer.status, await answer.json()]).toMatchObject([400, { error: { type: 'invalid_request_error' } }])
      expect(await (await coming).broken).toBe(true)
      expect(await row).toMatchObject({ outcome: 'error', error: 'invalid_request' })
    }
  })

  it.each([
    ['its own limit', { maxUploadBytes: 500_000 }],
    ["the host's", { before: [bodyLimit({ maxBytes: 500_000 })] }],
  ])('is refused when it passes %s', async (_which, options) => {
    const { url, upstream, nextRow } = await start(options)
    const whole = form([
      ['model', 'draw'],
      ['image', Buffer.alloc(mebibyte)],
    ])
    const told = await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body: whole })
    expect(told.status).toBe(413)
    expect(upstream.calls).toHaveLength(0)
    const coming = upstream.next()
    async function* pieces() {
      yield whole.subarray(0, 400_000)
      await coming
      yield whole.subarray(400_000)
    }
    const body = Readable.toWeb(Readable.from(pieces())) as never
    const row = nextRow()
    const chunked = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body,
      duplex: 'half',
    } as RequestInit)
    expect(chunked.status).toBe(413)
    expect(await (await coming).broken).toBe(true)
    expect(await row).toMatchObject({ status: 413, error: 'payload_too_large' })
  })

  it('is sent once: nobody tries again what is gone, but an answer in JSON', async () => {
    const { url, upstream } = await start({ upstream: { answer: answerJson({ error: { message: 'down' } }, 500) } })
    const post = (headers: Record<string, string>, body: string | Buffer) =>
      fetch(`${url}/v1/images/edits`, { method: 'POST', headers, body })
    expect(
      (
        await post(
          formType,
          form([
            ['model', 'retried'],
            ['image', Buffer.from('p')],
          ]),
        )
      ).status,
    ).toBe(502)
    expect(upstream.calls).toHaveLength(1)
    expect((await post({ 'content-type': 'application/json' }, JSON.stringify({ model: 'retried' }))).status).toBe(502)
    expect(upstream.calls).toHaveLength(4)
  })
})
