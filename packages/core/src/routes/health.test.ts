import { describe, expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { listener } from '../http/handler.js'
import type { ModelInfo } from '../inference/model.js'
import { errorHandler } from '../middleware/error-handler.js'
import type { Health } from '../wire/health.js'
import { healthRoute } from './health.js'

const loaded: ModelInfo[] = [
  { id: 'sentiment', task: 'predict', version: '1' },
  { id: 'sentiment', task: 'predict', version: '2' },
  { id: 'echo', task: 'generate' },
]

eachHost((host) => {
  it('says that it is alive, and with what', async () => {
    const { url } = await host.start(
      ['/health', healthRoute({ version: '1.2.3', models: async () => loaded, gpuAvailable: () => true })],
      errorHandler(),
    )
    const response = await fetch(`${url}/health`)
    expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store'])
    const { uptime_seconds, ...body } = (await response.json()) as Health
    expect(uptime_seconds).toBeGreaterThan(0)
    expect(body).toEqual({
      status: 'ok',
      version: '1.2.3',
      models: [
        { id: 'sentiment', task: 'predict', versions: ['1', '2'] },
        { id: 'echo', task: 'generate', versions: [] },
      ],
      gpu_available: true,
    })
    expect((await fetch(`${url}/health`, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(`${url}/health`, { method: 'PUT' })).status).toBe(405)
  })
})

describe('healthRoute', () => {
  it('needs only a version', async () => {
    const { url } = await listen(listener(healthRoute({ version: '1' })))
    expect(await (await fetch(url)).json()).toMatchObject({ models: [], gpu_available: false })
    expect(() => healthRoute({} as never)).toThrow(/version/)
  })
})
