import { createClient, isTollgateClientError } from '@tollgate/client'
import { hashPassword } from '@tollgate/core/stores/password-hash'
import { createRemoteJWKSet, jwtVerify, SignJWT } from 'jose'
import { describe, expect, it } from 'vitest'
import { apiKey, jwtSecret, post, startGate, startGateway } from './running-gate.js'

describe('who is let do what', () => {
  it('asks of each route the scope of its own', async () => {
    const { url } = await startGate()
    const operator = createClient({ baseUrl: url, apiKey })
    const routes = {
      chat: ['/v1/chat/completions', { model: 'echo', messages: [{ role: 'user', content: 'Hi' }] }],
      embed: ['/v1/embeddings', { model: 'echo', input: 'Hi' }],
      predict: ['/v1/predict', { text: 'Hello there' }],
      batch: ['/v1/predict/batch', { instances: [[1, 2, 3, 4]] }],
    } as const
    for (const scope of Object.keys(routes)) {
      const { secret } = await operator.keys.create({ name: scope, scopes: [scope] })
      for (const [wanted, [path, body]] of Object.entries(routes)) {
        const answer = await post(`${url}${path}`, body, { authorization: `Bearer ${secret}` })
        expect(answer.status, `${scope} at ${path}`).toBe(scope === wanted ? 200 : 403)
        if (scope !== wanted) expect(answer.headers.get('www-authenticate')).toContain(`scope="${wanted}"`)
        await answer.body?.cancel()
      }
      expect((await post(`${url}/v1/keys`, { name: 'x' }, { authorization: `Bearer ${secret}` })).status).toBe(403)
    }
  })

  it('takes the users of USERS into its store, where they are administered', async () => {
    const users = [{ username: 'ada', password_hash: await hashPassword('correct horse battery'), tenant: 'acme' }]
    const { url } = await startGate({ USERS: JSON.stringify(users), PASSWORD_GRANT: 'true' })
    const operator = createClient({ baseUrl: url, apiKey })
    const ada = createClient({ baseUrl: url, credentials: { username: 'ada', password: 'correct horse battery' } })
    expect(await ada.users.me()).toMatchObject({ tenant: 'acme', scopes: ['predict', 'batch', 'chat', 'embed'] })
    await expect(ada.users.list()).rejects.toSatisfy((error) => isTollgateClientError(error, 'insufficient_scope'))
    const [user] = (await operator.users.list({ tenant: 'acme' })).data
    expect(user).toMatchObject({ username: 'ada', roles: ['member'] })
    await operator.users.disable(user?.id ?? '')
    await expect(ada.users.me()).rejects.toSatisfy((error) => isTollgateClientError(error))
  })

  it('gives keys tokens that its metadata and key set prove', async () => {
    const { url } = await startGate()
    const { id, secret } = await createClient({ baseUrl: url, apiKey }).keys.create({ name: 'robot', scopes: ['chat'] })
    const metadata = await (await fetch(`${url}/.well-known/oauth-authorization-server`)).json()
    expect(metadata).toMatchObject({
      issuer: 'http://localhost:8000',
      token_endpoint: 'http://localhost:8000/v1/token',
      grant_types_supported: ['client_credentials', 'refresh_token'],
    })
    const answer = await fetch(`${url}/v1/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret }),
    })
    const { access_token: token } = (await answer.json()) as { access_token: string }
    const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(`${url}/.well-known/jwks.json`)), {
      issuer: 'http://localhost:8000',
      audience: 'tollgate',
      typ: 'at+jwt',
    })
    expect(payload).toMatchObject({ sub: `key:${id}`, tenant: 'default', scope: 'chat' })
    const headers = { authorization: `Bearer ${token}` }
    expect((await fetch(`${url}/v1/users/me`, { headers })).status).toBe(200)
    const form = new URLSearchParams({ token, client_id: id, client_secret: secret })
    expect((await fetch(`${url}/v1/revoke`, { method: 'POST', body: form })).status).toBe(200)
    expect((await fetch(`${url}/v1/users/me`, { headers })).status).toBe(401)
  })

  it('has no password grant unless it is switched on', async () => {
    const { url } = await startGate()
    const body = new URLSearchParams({ grant_type: 'password', username: 'ada', password: 'correct horse battery' })
    const answer = await fetch(`${url}/v1/token`, { method: 'POST', body })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ error: 'unsupported_grant_type' })
  })

  it('lets the tokens of others do everyday things only, and what they claim to be an operator for not at all', async () => {
    const { url } = await startGate()
    const token = (claims: Record<string, unknown>) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256' })
        .setIssuer('tollgate')
        .setAudience('tollgate')
        .setSubject('ada')
        .setExpirationTime('1h')
        .sign(Buffer.from(jwtSecret))
    const me = async (claims: Record<string, unknown>) => {
      const headers = { authorization: `Bearer ${await token(claims)}` }
      return (await fetch(`${url}/v1/users/me`, { headers })).json()
    }
    expect(await me({})).toMatchObject({ scopes: ['predict', 'batch', 'chat', 'embed'] })
    expect(await me({ scope: 'chat *' })).toMatchObject({ scopes: ['chat'] })
  })
})

describe('what was used', () => {
  it('is told with its cost, limited by rules of LIMITS, and asked beforehand', async () => {
    const { url } = await startGateway({
      API_KEY: apiKey,
      LIMITS: JSON.stringify([
        { name: 'day', measure: 'money', per: 'tenant', limit: '0.001', calendar: 'day', thresholds: [0.5] },
      ]),
    })
    const client = createClient({ baseUrl: url, apiKey })
    const messages = [{ role: 'user' as const, content: 'Hello there' }]
    const { usage } = await client.chat({ model: 'gpt-4o-mini', messages, max_tokens: 100 })
    const cost = ((usage?.prompt_tokens ?? 0) * 150 + (usage?.completion_tokens ?? 0) * 600) / 1e9
    await expect
      .poll(async () => (await client.usage.list({ group_by: 'model,user' })).data)
      .toMatchObject(
        expect.arrayContaining([
          expect.objectContaining({
            group: { model: 'gpt-4o-mini', user: 'key:operator' },
            requests: 1,
            cost_usd: cost.toFixed(9).replace(/0+$/, ''),
          }),
        ]),
      )
    const limits = await client.limits.list()
    expect(limits.map(({ name, measure }) => [name, measure])).toEqual([
      ['requests', 'requests'],
      ['day', 'money'],
    ])
    expect(Number(limits[1]?.used)).toBeCloseTo(cost, 12)
    const much = { model: 'gpt-4o-mini', input_tokens: 5, max_output_tokens: 10_000 }
    expect(await client.limits.check(much)).toMatchObject({ allowed: false, refused_by: ['day'] })
    const dear = client.chat({ model: 'gpt-4o-mini', messages, max_tokens: 10_000 })
    await expect(dear).rejects.toMatchObject({ status: 402, attempts: { length: 1 } })
  })
})
