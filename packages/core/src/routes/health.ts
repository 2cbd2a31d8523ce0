import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import type { ModelInfo } from '../inference/model.js'
import { checkedOptions, functionOption } from '../options.js'
import type { Health, HealthModel } from '../wire/health.js'

/** Options of {@link healthRoute}. */
export interface HealthRouteOptions {
  /** Of your application. */
  readonly version: string
  /** The models that are loaded here, asked at every request: keep it in memory. Default: none. */
  readonly models?: () => readonly ModelInfo[] | Promise<readonly ModelInfo[]>
  /** Default false. */
  readonly gpuAvailable?: boolean | (() => boolean)
}

const onlyGet = allowedMethods('GET')

const optionsSchema = z.strictObject({
  version: z.string().min(1),
  models: functionOption<NonNullable<HealthRouteOptions['models']>>().default(() => () => []),
  gpuAvailable: z
    .union([z.boolean(), functionOption<() => boolean>()], 'must be true, false or a function')
    .default(false),
})

/**
 * `GET /health`: the process is alive, with its version, uptime, loaded models and whether there is a GPU. It asks nothing over the network, so that
 * a database that is down restarts nobody; whether to send requests is what `readyRoute` tells.
 *
 * Writes the slot `route`.
 *
 * @example app.use('/health', healthRoute({ version: '1.4.0', models: () => registry.list() }))
 * @throws TollgateError `method_not_allowed`; `config_invalid` for wrong options
 */
export function healthRoute(options: HealthRouteOptions): Handler {
  const { version, models, gpuAvailable } = checkedOptions('healthRoute', optionsSchema, options)
  return endpoint('healthRoute', async (context, req, res) => {
    context.route ??= '/health'
    onlyGet(req)
    const body: Health = {
      status: 'ok',
      version,
      uptime_seconds: Math.round(process.uptime() * 1000) / 1000,
      models: byModel(await models()),
      gpu_available: typeof gpuAvailable === 'function' ? gpuAvailable() : gpuAvailable,
    }
    sendJson(res, 200, body, noStore)
  })
}

function byModel(models: readonly ModelInfo[]): HealthModel[] {
  const found = new Map<string, HealthModel>()
  for (const { id, task, version } of models) {
    const key = JSON.stringify([task, id])
    const model = found.get(key) ?? { id, task, versions: [] }
    found.set(key, model)
    if (version !== undefined) model.versions.push(version)
  }
  return [...found.values()]
}
