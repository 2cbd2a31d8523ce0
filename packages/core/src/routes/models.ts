import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { pathOf, queryParams } from '../http/route-template.js'
import type { ModelInfo } from '../inference/model.js'
import type { InferenceService } from '../inference/service.js'
import { mayUseModel } from '../model-lists.js'
import { checkedOptions } from '../options.js'
import {
  type AnthropicModel,
  type AnthropicModelPage,
  type ModelDetails,
  type ModelList,
  type ModelListEntry,
  type ModelVersion,
  modelPageQuery,
} from '../wire/models.js'
import { invalidRequest, parseWith } from '../wire/parse.js'
import { serviceSchema } from './invoke.js'

export interface ModelsOptions {
  readonly service: InferenceService
}

const onlyGet = allowedMethods('GET')

const optionsSchema = z.strictObject({ service: serviceSchema })

/**
 * `GET /v1/models`: the names that the caller may use, in OpenAI's shape; in Anthropic's, a page of them, where the caller sends `anthropic-version`. Each once, whatever tasks and versions it has.
 * Models outside the lists of the slot `principal` are left out.
 *
 * Writes the slots `route` and `dialect`.
 *
 * @throws TollgateError `method_not_allowed`; `invalid_request` for a page that there is not; `upstream_*` if no provider can say what it has
 * @example app.get('/v1/models', listModels({ service }))
 */
export function listModels(options: ModelsOptions): Handler {
  const { service } = checkedOptions('listModels', optionsSchema, options)
  return endpoint('listModels', async (context, req, res) => {
    context.route ??= '/v1/models'
    const isAnthropic = speaksAnthropic(context, req)
    onlyGet(req)
    const entries = new Map<string, ModelListEntry>()
    const lists = context.principal?.models
    for (const model of await service.list()) {
      if (!mayUseModel(lists, { model: model.id, provider: model.provider })) continue
      const known = entries.get(model.id)
      const created = Math.max(known?.created ?? 0, seconds(model.loadedAt))
      entries.set(model.id, { id: model.id, object: 'model', created, owned_by: model.ownedBy ?? model.provider })
    }
    const data = [...entries.values()]
    sendJson(res, 200, isAnthropic ? pageOf(data, req) : ({ object: 'list', data } satisfies ModelList))
  })
}

/**
 * `GET /v1/models/{name}`: OpenAI's fields of one model (Anthropic's alone where the caller sends `anthropic-version`), its task, and its versions with when they were loaded and the schema of their
 * input. The name comes from the host's `req.params.name`, or is what follows `/models/` in the path; it may be percent-encoded, may
 * hold slashes, and may name a version (`iris@2`).
 *
 * Writes the slots `route` and `dialect`.
 *
 * @throws TollgateError `model_not_found`, naming what there is; `invalid_request` for broken percent-encoding
 * @example app.get('/v1/models/:name', modelDetails({ service }))
 */
export function modelDetails(options: ModelsOptions): Handler {
  const { service } = checkedOptions('modelDetails', optionsSchema, options)
  return endpoint('modelDetails', async (context, req, res) => {
    context.route ??= '/v1/models/{name}'
    const isAnthropic = speaksAnthropic(context, req)
    onlyGet(req)
    const asked = nameOf(req)
    const model = await service.describe(asked)
    const { name, task, description, ownedBy } = model
    if (!mayUseModel(context.principal?.models, { model: name, provider: model.provider })) {
      throw new TollgateError('model_not_found', `There is no model ${asked} that these credentials may use.`)
    }
    const details: ModelDetails = {
      id: name,
      object: 'model',
      created: Math.max(...model.versions.map(({ loadedAt }) => seconds(loadedAt))),
      owned_by: ownedBy,
      task,
      ...(description === undefined ? {} : { description }),
      versions: model.versions.map(toVersion),
    }
    sendJson(res, 200, isAnthropic ? toAnthropic(details) : details)
  })
}

/** Anthropic's clients call the same path: they are known by a header of theirs. */
function speaksAnthropic(context: RequestContext, req: IncomingMessage): boolean {
  const isAnthropic = req.headers['anthropic-version'] !== undefined
  if (isAnthropic) context.dialect = 'anthropic'
  else context.dialect ??= 'openai'
  return isAnthropic
}

function pageOf(entries: readonly ModelListEntry[], req: IncomingMessage): AnthropicModelPage {
  const {
    limit,
    after_id: after,
    before_id: before,
  } = parseWith(modelPageQuery, Object.fromEntries(queryParams(req)), 'query')
  const indexOf = (field: string, name: string) => {
    const index = entries.findIndex(({ id }) => id === name)
    if (index === -1) throw invalidRequest([{ path: `query.${field}`, message: 'names no model of this list' }])
    return index
  }
  const from = after === undefined ? 0 : indexOf('after_id', after) + 1
  const among = entries.slice(from, before === undefined ? undefined : indexOf('before_id', before))
  const page = before === undefined ? among.slice(0, limit) : among.slice(-limit)
  return {
    data: page.map(toAnthropic),
    has_more: page.length < among.length,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  }
}

/** Of the year 9999, the last that RFC 3339 can tell. */
const lastSecond = 253_402_300_799

function toAnthropic({ id, created }: ModelListEntry): AnthropicModel {
  // A provider may say anything.
  const at = new Date(created >= 0 && created <= lastSecond ? created * 1000 : 0).toISOString().replace('.000Z', 'Z')
  return { type: 'model', id, display_name: id, created_at: at }
}

function toVersion({ version, latest, loadedAt, inputSchema }: ModelInfo & { version: string; latest: boolean }) {
  const shown: ModelVersion = {
    version,
    latest,
    loaded_at: loadedAt === undefined ? null : new Date(loadedAt).toISOString(),
  }
  return inputSchema === undefined ? shown : { ...shown, input_schema: { ...inputSchema } }
}

function seconds(loadedAt: number | undefined): number {
  return loadedAt === undefined ? 0 : Math.floor(loadedAt / 1000)
}

function nameOf(req: IncomingMessage): string {
  // What Express and its like leave on a request that they routed.
  const { params } = req as { params?: Readonly<Record<string, unknown>> }
  const given = params?.['name']
  if (typeof given === 'string' && given !== '') return given
  // Express 5 gives the segments of a `*name`.
  if (Array.isArray(given) && given.length > 0) return given.join('/')
  const path = pathOf(req)
  const at = path.indexOf('/models/')
  const name = at === -1 ? '' : decoded(path.slice(at + '/models/'.length))
  if (name === '') throw new TollgateError('not_found', 'Name a model: /v1/models/{name}.')
  return name
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    const errors = [{ path: 'name', message: 'is not valid percent-encoding' }]
    throw new TollgateError('invalid_request', 'The name of the model in the path is not valid percent-encoding.', {
      errors,
    })
  }
}
