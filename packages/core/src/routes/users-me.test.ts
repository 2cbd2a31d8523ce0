import { expect, it } from 'vitest'
import { eachHost, type Host, hosts } from '../../test/hosts.js'
import { middleware } from '../http/handler.js'
import { auth } from '../middleware/auth.js'
import { memoryDirectory } from '../stores/memory-directory.js'
import { usersMe } from './users-me.js'

const directory = memoryDirectory({
  apiKeys: [
    { key: 'full', id: 'k1', tenant: 'acme', subject: 'website', tier: 'pro', scopes: ['chat'], expiresAt: 4e12 },
    { key: 'bare', id: 'k2', tenant: 'globex', subject: 'batch' },
  ],
})

eachHost((host) => {
  it('says whom the gate takes the caller for', async () => {
    const { url } = await host.start(auth({ directory }), usersMe())
    const me = async (key: string) => (await fetch(url, { headers: { 'x-api-key': key } })).json()
    expect(await me('full')).toEqual({
      tenant: 'acme',
      subject: 'website',
      method: 'api-key',
      key_id: 'k1',
      tier: 'pro',
      scopes: ['chat'],
      expires_at: '2096-10-02T07:06:40.000Z',
    })
    expect(await me('bare')).toEqual({
      tenant: 'globex',
      subject: 'batch',
      method: 'api-key',
      key_id: 'k2',
      tier: null,
      scopes: [],
      expires_at: null,
    })
  })

  it('is 401 with a challenge for nobody', async () => {
    const { url } = await host.start(auth({ directory, optional: true }), usersMe())
    const response = await fetch(url)
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="api"')
  })
})

const plain = hosts[3] as Host

it('is never cached, answers HEAD, and takes no other method', async () => {
  const { url } = await plain.start(auth({ directory }), usersMe())
  const headers = { 'x-api-key': 'full' }
  expect((await fetch(url, { headers })).headers.get('cache-control')).toBe('no-store')
  expect((await fetch(url, { headers, method: 'HEAD' })).status).toBe(200)
  const refused = await fetch(url, { headers, method: 'POST' })
  expect(refused.status).toBe(405)
  expect(refused.headers.get('allow')).toBe('GET, HEAD')
})

it('takes an end beyond all dates for no end', async () => {
  const someone = middleware('someone', (context) => {
    context.principal = { tenant: 't', subject: 's', method: 'own', scopes: [], expiresAt: 1e300 }
  })
  const { url } = await plain.start(someone, usersMe())
  expect(await (await fetch(url)).json()).toMatchObject({ expires_at: null, method: 'own' })
})
