import { expect, it } from 'vitest'
import { fakeModel, recordedCall, sick, textOf } from '../../test/fake-model.js'
import { gatewayService } from '../gateway/gateway-service.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { hedged } from '../wrappers/hedged.js'
import { hedgeReports } from './hedge-reports.js'
import { prometheusRegistry } from './prometheus-registry.js'

const never = 3_600_000

it('counts hedges that won, were outrun, failed or were left, and those that there was no budget for', async () => {
  const registry = prometheusRegistry()
  const onHedge = hedgeReports(registry)
  const figures = async () =>
    Object.fromEntries(
      [...(await registry.expose('prometheus')).matchAll(/^tollgate_hedges_total\{(.*)\} (\d+)$/gm)].map(
        ([, labels, count]) => [labels, Number(count)],
      ),
    )
  const labels = (outcome: string, model = 'b') => `provider="fake",model="${model}",outcome="${outcome}"`

  const won = hedged(fakeModel('a', ['hang']).model, { afterMs: 5, target: fakeModel('b', ['ok']).model, onHedge })
  await textOf(won, recordedCall().call, 'run')
  expect(await figures()).toEqual({ [labels('won')]: 1 })

  const slow = fakeModel('a', ['hang'])
  const failing = hedged(slow.model, { afterMs: 5, target: fakeModel('b', [sick()]).model, onHedge })
  const leaving = new AbortController()
  const { call, told } = recordedCall({ signal: leaving.signal })
  const answer = textOf(failing, call, 'stream')
  await expect.poll(() => told.failed).toHaveLength(1)
  leaving.abort()
  await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
  expect(await figures()).toEqual({ [labels('won')]: 1, [labels('failed')]: 1 })

  const both = fakeModel('b', ['hang'])
  const left = hedged(fakeModel('a', ['hang']).model, { afterMs: 5, target: both.model, onHedge })
  const second = new AbortController()
  const going = textOf(left, recordedCall({ signal: second.signal }).call, 'run')
  await expect.poll(() => both.state.running).toBe(1)
  second.abort()
  await expect(going).rejects.toMatchObject({ code: 'client_closed' })
  expect(await figures()).toMatchObject({ [labels('left')]: 1 })

  const third = new AbortController()
  const poor = { afterMs: 1, budgetRatio: 0, budgetBurst: 0, onHedge, target: fakeModel('c', ['ok']).model }
  const waiting = textOf(
    hedged(fakeModel('a', ['hang']).model, poor),
    recordedCall({ signal: third.signal }).call,
    'run',
  )
  await expect.poll(figures).toMatchObject({ [labels('withheld', 'c')]: 1 })
  third.abort()
  await expect(waiting).rejects.toMatchObject({ code: 'client_closed' })

  const two = { afterMs: 5, maxHedges: 2, onHedge, target: fakeModel('d', ['hang', 'ok']).model }
  await textOf(hedged(fakeModel('a', ['hang']).model, two), recordedCall().call, 'run')
  expect(await figures()).toMatchObject({ [labels('won', 'd')]: 1, [labels('outrun', 'd')]: 1 })
})

it('never tells of a call that nobody had to help, and may throw', async () => {
  const results: unknown[] = []
  const quick = fakeModel('a', ['ok']).model
  const onHedge = (result: unknown) => {
    results.push(result)
    throw new Error('the meter is broken')
  }
  expect(await textOf(hedged(quick, { afterMs: never, onHedge }), recordedCall().call, 'run')).toBe('a')
  expect(results).toEqual([])
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  const model = hedged(fakeModel('a', ['hang', 'ok']).model, { afterMs: 5, onHedge })
  expect(await textOf(model, recordedCall().call, 'run')).toBe('a')
  expect(results).toMatchObject([{ outcome: 'won', target: { provider: 'fake', model: 'a' } }])
  expect((await warned).message).toBe('the meter is broken')
})

it('is told by the routes of a configuration', async () => {
  const registry = prometheusRegistry()
  const slow = fakeModel('slow', ['hang']).model
  const service = gatewayService(
    {
      providers: { echo: { type: 'echo' } },
      models: { quick: { targets: ['own/slow'], hedge: { afterMs: 5, target: 'echo/echo' } } },
    },
    {
      tokenizer: byteTokenizer,
      providers: [{ ...echoProvider({ name: 'own', tokenizer: byteTokenizer }), model: () => slow as never }],
      onHedge: hedgeReports(registry),
    },
  )
  await service.run('generate', 'quick', { messages: [{ role: 'user', content: 'hi' }] } as never, recordedCall().call)
  expect(await registry.expose('prometheus')).toContain('{provider="echo",model="echo",outcome="won"} 1')
  await service.close()
})
