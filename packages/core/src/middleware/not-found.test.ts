import { expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { endpoint, listener } from '../http/handler.js'
import { errorHandler } from './error-handler.js'
import { methodNotAllowed, notFound } from './not-found.js'

const answers = endpoint('answers', (_context, _req, res) => void res.end('fine'))

eachHost((host) => {
  it('tells what is not there', async () => {
    const { url } = await host.start(['/there', answers], notFound(), errorHandler())
    expect(await (await fetch(`${url}/there`)).text()).toBe('fine')
    const response = await fetch(`${url}/nowhere?key=secret`, { method: 'DELETE' })
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code: 'not_found', detail: 'There is no DELETE /nowhere here.' })
    const long = (await (await fetch(`${url}/${'x'.repeat(5_000)}`)).json()) as { detail: string }
    expect(long.detail.length).toBeLessThan(250)
  })

  it('refuses other methods with Allow', async () => {
    const { url } = await host.start(['/there', methodNotAllowed(['GET', 'post']), answers], errorHandler())
    for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS']) {
      expect((await fetch(`${url}/there`, { method })).status).toBe(200)
    }
    const response = await fetch(`${url}/there`, { method: 'DELETE' })
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, POST, HEAD'])
    expect(await response.json()).toMatchObject({ code: 'method_not_allowed' })
  })
})

it('sends its Allow without an error handler of ours too', async () => {
  const { url } = await listen(listener(methodNotAllowed(['POST'])))
  const response = await fetch(url)
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST'])
})
