import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { isTollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { jsonBody } from '../http/body.js'
import type { RequestContext } from '../http/context.js'
import { expectUsage } from '../http/expected-usage.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { roundedMs } from '../http/rounded-ms.js'
import type { InferenceService } from '../inference/service.js'
import type { Prediction } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { invalidRequest, parseWith } from '../wire/parse.js'
import {
  type BatchPrediction,
  type PredictBatchResponse,
  type PredictResponse,
  predictBatchRequest,
  predictRequest,
} from '../wire/predict.js'
import { invoke, serviceSchema } from './invoke.js'

export interface PredictRouteOptions {
  readonly service: InferenceService
  /** Which model answers a request that names none, by the kind of its rows. Default: the service's default for `predict`. */
  readonly defaultModels?: { readonly text?: string; readonly features?: string }
}

const onlyPost = allowedMethods('POST')

const optionsSchema = z.strictObject({
  service: serviceSchema,
  defaultModels: z
    .strictObject({ text: z.string().min(1), features: z.string().min(1) })
    .partial()
    .optional(),
})

/**
 * `POST /v1/predict`: one row, one prediction. Rows are `{ text }`, `{ features }`, or the model's own shape in `input_data`.
 *
 * Writes the slots `route`, and by recording usage `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError `invalid_request` naming the field, `invalid_json`, `method_not_allowed`, `model_not_found`, and what the model throws;
 * `config_invalid` for wrong options
 * @example app.post('/v1/predict', predict({ service, defaultModels: { text: 'language-id', features: 'iris' } }))
 */
export function predict(options: PredictRouteOptions): Handler {
  checkedOptions('predict', optionsSchema, options)
  return endpoint('predict', async (context, req, res) => {
    context.route ??= '/v1/predict'
    onlyPost(req)
    const body = parseWith(predictRequest, await jsonBody(req))
    const field = body.text !== undefined ? 'text' : body.features !== undefined ? 'features' : 'input_data'
    const row = toRow(body[field], field)
    const run = await predictRows(
      options,
      context,
      req,
      res,
      { ...body, rows: [row] },
      (path) =>
        // The model speaks of `instances[0].features[1]`; the caller sent `features[1]`, or the same inside `input_data`.
        path.replace(/^instances\[0\]\.?/, '').replace(/^(?:text|features)(?=$|\[)/, field) || field,
    )
    const prediction = toWire(run.predictions[0] as Prediction)
    const answer: PredictResponse = {
      request_id: context.id,
      ...prediction,
      result: prediction.prediction,
      latency_ms: run.latencyMs,
      model: run.model,
      model_version: run.version,
      timestamp: new Date().toISOString(),
    }
    sendJson(res, 200, answer)
  })
}

/**
 * `POST /v1/predict/batch`: 1 to 1000 rows in one vectorised run, predictions in the order of the rows. A wrong row refuses the batch; the
 * error names every wrong row (`inputs[3]`, `instances[3][1]`), so that the caller can take them out.
 *
 * @throws as {@link predict}
 * @example app.post('/v1/predict/batch', predictBatch({ service, defaultModels: { text: 'language-id', features: 'iris' } }))
 */
export function predictBatch(options: PredictRouteOptions): Handler {
  checkedOptions('predictBatch', optionsSchema, options)
  return endpoint('predictBatch', async (context, req, res) => {
    context.route ??= '/v1/predict/batch'
    onlyPost(req)
    const body = parseWith(predictBatchRequest, await jsonBody(req))
    const field = body.inputs === undefined ? 'instances' : 'inputs'
    const given: readonly unknown[] = body.inputs ?? body.instances ?? []
    const rows = given.map((row, index) => toRow(row, `${field}[${index}]`))
    const run = await predictRows(options, context, req, res, { ...body, rows }, (path) =>
      path.replace(/^instances\[(\d+)\](?:\.(text|features))?/, (_match, index: string, inner?: string) => {
        const isBare = typeof given[Number(index)] === 'string' || Array.isArray(given[Number(index)])
        return `${field}[${index}]${inner === undefined || isBare ? '' : `.${inner}`}`
      }),
    )
    const answer: PredictBatchResponse = {
      request_id: context.id,
      predictions: run.predictions.map(toWire),
      count: run.predictions.length,
      latency_ms: run.latencyMs,
      model: run.model,
      model_version: run.version,
      timestamp: new Date().toISOString(),
    }
    sendJson(res, 200, answer)
  })
}

interface Rows {
  readonly rows: readonly unknown[]
  readonly model?: string | undefined
  readonly model_version?: string | undefined
}

async function predictRows(
  { service, defaultModels }: PredictRouteOptions,
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  { rows, model, model_version }: Rows,
  rename: (path: string) => string,
) {
  const name = model ?? defaultModels?.[kindOf(rows[0])]
  const versioned = name !== undefined && model_version !== undefined ? `${name}@${model_version}` : name
  expectUsage(context, { usage: { rows: rows.length } })
  try {
    const { result, target, latencyMs } = await invoke(context, req, res, service, 'predict', versioned, { rows })
    return {
      predictions: result.output.predictions,
      latencyMs: roundedMs(latencyMs),
      model: target.model,
      version: target.version ?? 'latest',
    }
  } catch (error) {
    throw renamed(error, rename)
  }
}

// A text and a list of numbers stand for the rows that the embedded kinds of model read.
function toRow(value: unknown, path: string): unknown {
  if (typeof value === 'string') return { text: value }
  if (Array.isArray(value)) return { features: value }
  if (typeof value === 'object' && value !== null) return value
  throw invalidRequest([{ path, message: 'expected a string, an array of numbers or an object' }])
}

function kindOf(row: unknown): 'text' | 'features' {
  return typeof row === 'object' && row !== null && 'features' in row ? 'features' : 'text'
}

function toWire({ prediction, probability, probabilities, ...own }: Prediction): BatchPrediction {
  return {
    ...own,
    prediction,
    ...(probability === undefined ? {} : { confidence: probability, probability }),
    ...(probabilities === undefined ? {} : { probabilities: { ...probabilities } }),
  }
}

// The error speaks of the rows as the model has them; the caller knows them by the names that it sent.
function renamed(error: unknown, rename: (path: string) => string): unknown {
  if (!isTollgateError(error, 'invalid_request') || error.errors === undefined) return error
  return invalidRequest(error.errors.map(({ path, message }) => ({ path: rename(path), message })))
}
