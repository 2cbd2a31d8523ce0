import compression from 'compression'
import express from 'express'
import { expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { endpoint, listener } from './handler.js'
import { openEventStream } from './sse.js'

eachHost((host) => {
  it('sends each event at once', async () => {
    let second: () => void = () => {}
    const asked = new Promise<void>((resolve) => {
      second = resolve
    })
    const { url } = await host.start(
      endpoint('streams', async (_context, _req, res) => {
        const stream = openEventStream(res)
        await stream.send('data: 1\n\n')
        await asked
        await stream.send(Buffer.from('data: 2\n\n'))
        stream.end()
      }),
    )
    const response = await fetch(url)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('data: 1\n\n')
    second()
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('data: 2\n\n')
    expect((await reader.read()).done).toBe(true)
  })
})

it('is neither compressed nor held back by compression', async () => {
  let second: () => void = () => {}
  const asked = new Promise<void>((resolve) => {
    second = resolve
  })
  const app = express().use(
    compression({ threshold: 0 }),
    endpoint('streams', async (_context, _req, res) => {
      const stream = openEventStream(res)
      await stream.send('data: 1\n\n')
      await asked
      stream.end()
    }),
  )
  const { url } = await listen(app)
  const response = await fetch(url, { headers: { 'accept-encoding': 'gzip' } })
  expect(response.headers.get('content-encoding')).toBeNull()
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('data: 1\n\n')
  second()
})

it('slows the source to the reader, and lets go when the reader leaves', async () => {
  let sent = 0
  let finish: (sent: number) => void = () => {}
  const finished = new Promise<number>((resolve) => {
    finish = resolve
  })
  const { url } = await listen(
    listener(
      endpoint('floods', async (_context, _req, res) => {
        const stream = openEventStream(res)
        const event = `data: ${'x'.repeat(64 * 1024)}\n\n`
        while (stream.isOpen() && sent < 10_000) {
          sent += 1
          await stream.send(event)
        }
        finish(sent)
      }),
    ),
  )
  const leaving = new AbortController()
  const response = await fetch(url, { signal: leaving.signal })
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  await reader.read()
  let before = -1
  // The source stands still once the socket's buffers are full.
  while (before !== sent) {
    before = sent
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(sent).toBeLessThan(1000)
  leaving.abort()
  expect(await finished).toBeLessThan(1000)
})

it('keeps a silent stream alive with comments', async () => {
  const { url } = await listen(
    listener(
      endpoint('silent', (_context, _req, res) => {
        openEventStream(res, { heartbeatMs: 10 })
        res.flushHeaders()
      }),
    ),
  )
  const reader = ((await fetch(url)).body as ReadableStream<Uint8Array>).getReader()
  expect(Buffer.from((await reader.read()).value ?? []).toString()).toContain(': keep-alive\n\n')
  await reader.cancel()
})
