import { expect, it } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { dispatching } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import type { Principal } from '../principal.js'
import { type AuthorizeOptions, authorize } from './authorize.js'
import { errorHandler } from './error-handler.js'

const quiet = { log: { error() {}, warn() {} } }
const ada: Principal = { tenant: 'acme', subject: 'ada', method: 'api-key', scopes: [] }

const as =
  (principal: Principal | undefined): Handler =>
  (req, res, next) => {
    contextOf(req, res).principal = principal
    next()
  }

const dispatch = endpoint('dispatch', async (context, _req, res) => {
  await dispatching(context, { provider: 'openai', model: 'gpt-4o', version: '1' })
  sendJson(res, 200, { dispatched: true })
})

eachHost(({ start }) => {
  const ask = async (principal: Principal | undefined, options: AuthorizeOptions) => {
    const { url } = await start(as(principal), authorize(options), dispatch, errorHandler(quiet))
    const answer = await fetch(url)
    return { status: answer.status, challenge: answer.headers.get('www-authenticate'), body: await answer.json() }
  }

  it('wants a principal', async () => {
    expect(await ask(undefined, {})).toMatchObject({ status: 401, challenge: 'Bearer realm="api"' })
  })

  it.each([
    [['chat'], 200],
    [['*'], 200],
    [['ch*'], 403],
    [['chat:read'], 403],
    [[], 403],
  ])('of a caller with %j wants the scope chat: %i', async (scopes, status) => {
    expect((await ask({ ...ada, scopes }, { scopes: ['chat'] })).status).toBe(status)
  })

  it('names all that is missing, and nothing that is there', async () => {
    const answer = await ask({ ...ada, scopes: ['chat'] }, { scopes: ['chat', 'usage:read', 'admin'] })
    expect(answer).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
    expect(answer.challenge).toBe('Bearer realm="api", error="insufficient_scope", scope="usage:read admin"')
    expect(JSON.stringify(answer.body)).toContain('usage:read, admin')
  })

  it('takes one of several with anyOf', async () => {
    const options = { anyOf: ['admin', 'usage:read'] }
    expect((await ask({ ...ada, scopes: ['usage:*'] }, options)).status).toBe(200)
    expect(await ask({ ...ada, scopes: ['usage'] }, options)).toMatchObject({
      status: 403,
      challenge: expect.stringContaining('scope="admin usage:read"'),
    })
  })

  it('refuses a model that is not in each list when it is dispatched', async () => {
    expect((await ask({ ...ada, models: [['gpt-4o'], ['openai/*']] }, {})).status).toBe(200)
    expect(await ask({ ...ada, models: [['gpt-4o'], ['azure/*']] }, {})).toMatchObject({
      status: 403,
      body: { code: 'model_not_allowed' },
    })
    expect((await ask({ ...ada, models: [[]] }, {})).status).toBe(403)
  })

  it('refuses options that cannot be scopes', () => {
    for (const scopes of [['a b'], ['"'], [''], []]) expect(() => authorize({ scopes })).toThrow(/scopes/)
  })
})
