import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { messages, post, start } from '../../test/chat-gate.js'
import { completionTokens } from '../usage.js'

describe('callers who leave', () => {
  it('stops a whole answer that is under way, and bills its prompt', async () => {
    const { url, upstream, nextEnd } = await start({ 'gpt-test': { stallAfter: -1 } })
    const ended = nextEnd()
    const called = upstream.next()
    const leaving = new AbortController()
    const answer = post(url, { model: 'gpt-test', messages }, { signal: leaving.signal }).catch(() => {})
    const call = await called
    leaving.abort()
    expect(await call.broken).toBe(true)
    await answer
    const context = await ended
    expect(context.usage).toMatchObject({ outputTokens: 0, estimated: true })
    expect(context.usage?.inputTokens).toBeGreaterThan(4)
  })

  it('stops a stream whose reader does not read, once it has gone', async () => {
    const text = 'word '.repeat(60_000)
    const { url, upstream, nextEnd } = await start({ 'gpt-test': { text } })
    const ended = nextEnd()
    const called = upstream.next()
    const body = JSON.stringify({ model: 'gpt-test', messages, stream: true })
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(
      `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
    await once(socket, 'readable')
    const call = await called
    // Unread: the sockets' buffers fill up, and the upstream comes to a standstill long before its end.
    await expect
      .poll(
        async () => {
          const before = call.events
          await new Promise((resolve) => setTimeout(resolve, 150))
          return call.events === before
        },
        { timeout: 20_000 },
      )
      .toBe(true)
    expect(call.events).toBeLessThan(55_000)
    socket.destroy()
    expect(await call.broken).toBe(true)
    const { usage } = await ended
    expect(usage?.estimated).toBe(true)
    expect(completionTokens(usage as never)).toBeGreaterThan(100)
  })
})
