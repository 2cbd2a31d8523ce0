import { expect, it } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { endpoint } from '../http/handler.js'
import { drain } from './drain.js'

eachHost((host) => {
  it('refuses new requests once begun, and waits for those that are open', async () => {
    const draining = drain()
    let finish: () => void = () => {}
    let arrived: () => void = () => {}
    const open = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { url } = await host.start(
      draining,
      endpoint('slow', async (_context, _req, res) => {
        arrived()
        await new Promise<void>((resolve) => {
          finish = resolve
        })
        res.end('done')
      }),
    )
    expect(await draining.idle(0)).toBe(true)
    const first = fetch(url)
    await open
    draining.begin()
    expect(draining.open).toBe(1)
    const refused = await fetch(url)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await draining.idle(1)).toBe(false)
    const idle = draining.idle(10_000)
    finish()
    expect(await (await first).text()).toBe('done')
    expect(await idle).toBe(true)
    expect(draining.open).toBe(0)
  })
})
