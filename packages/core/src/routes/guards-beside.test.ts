import { expect, it } from 'vitest'
import { email, guards, prompt, scripts, secrets, sent, written } from '../../test/guarded-gateway.js'
import { llmGateway } from '../../test/llm-gateway.js'
import { contextOf } from '../http/context.js'
import type { Handler } from '../http/handler.js'
import { cache } from '../middleware/cache.js'
import { logging } from '../middleware/logging.js'
import { metrics } from '../middleware/metrics.js'

it('tells the log and the metrics what was found', async () => {
  const lines: string[] = []
  const observed = metrics()
  const log = logging({ destination: { write: (line) => void lines.push(line) } })
  const gateway = await llmGateway(scripts({ text: written }), { guards, before: [log, observed] })
  await gateway.openAiClient.chat.completions.create({
    model: 'gpt-test',
    messages: [{ role: 'user', content: prompt }],
  })
  await expect.poll(() => lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '{}')).toMatchObject({ flags: ['pii:email', 'pii:credit_card', 'pii:secret'] })
  for (const secret of secrets) expect(lines[0]).not.toContain(secret)
  expect(await observed.registry.expose('prometheus')).toContain('tollgate_guard_flags_total{flag="pii:credit_card"} 1')
})

it('is kept in the cache for the same request of the same caller alone', async () => {
  const authenticate: Handler = (req, res, next) => {
    const [tenant = '', subject = ''] = String(req.headers['x-who']).split('/')
    contextOf(req, res).principal = { tenant, subject, method: 'jwt', scopes: [] }
    next()
  }
  const gateway = await llmGateway(scripts({ text: written }), {
    guards,
    before: [authenticate, cache({ scope: 'tenant' })],
  })
  const ask = async (who: string, address: string) => {
    const { data, response } = await gateway.openAiClient.chat.completions
      .create(
        { model: 'gpt-test', messages: [{ role: 'user', content: `Mail ${address}` }] },
        { headers: { 'x-who': who } },
      )
      .withResponse()
    return [data.choices[0]?.message.content?.split(' ')[1], response.headers.get('cache-status')?.includes('hit')]
  }
  // Three requests that are the same to the upstream.
  expect(await ask('acme/a', email)).toEqual([email, false])
  expect(await ask('acme/a', 'bob@example.org')).toEqual(['bob@example.org', false])
  expect(await ask('other/a', email)).toEqual([email, false])
  expect(await ask('acme/b', email)).toEqual([email, true])
  expect(await ask('acme/b', 'bob@example.org')).toEqual(['bob@example.org', true])
  expect(new Set(sent(gateway.openAi.calls).map((body) => JSON.stringify(body)))).toHaveLength(1)
  expect(gateway.openAi.calls).toHaveLength(3)
})
