import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream'
import { type Forward, forwarder } from './forward.ts'
import { serve } from './serve.ts'

// What Node itself costs: no framework, both bodies parsed.
serve((upstreamOrigin) => {
  const forward = forwarder(upstreamOrigin)
  return (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      relay(res, forward, JSON.parse(Buffer.concat(chunks).toString())).catch(() => res.destroy())
    })
  }
})

async function relay(res: ServerResponse, forward: Forward, request: { stream?: unknown }) {
  const { statusCode, body } = await forward(request)
  if (request.stream !== true) {
    const bytes = Buffer.from(JSON.stringify(await body.json()))
    res.writeHead(statusCode, { 'content-type': 'application/json', 'content-length': bytes.length })
    res.end(bytes)
    return
  }
  res.writeHead(statusCode, { 'content-type': 'text/event-stream; charset=utf-8' })
  pipeline(body, res, () => {})
}
