import { pipeline } from 'node:stream'
import express, { type Express, type RequestHandler } from 'express'
import { chatPath } from '../traffic.ts'
import { forwarder } from './forward.ts'

/** An Express 5 app as one writes it to forward chat requests, with `layers` in front of the body parser. */
export function expressProxy(upstreamOrigin: string, ...layers: readonly RequestHandler[]): Express {
  const forward = forwarder(upstreamOrigin)
  const app = express()
  for (const layer of layers) app.use(layer)
  app.use(express.json())
  app.post(chatPath, async (req, res) => {
    const { statusCode, body } = await forward(req.body)
    if (req.body.stream !== true) {
      res.status(statusCode).json(await body.json())
      return
    }
    res.writeHead(statusCode, { 'content-type': 'text/event-stream; charset=utf-8' })
    pipeline(body, res, () => {})
  })
  return app
}
