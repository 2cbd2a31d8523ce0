import { type Handler, listener } from '@tollgate/core/http/handler'
import { serve } from './serve.ts'
import { tollgateStack } from './tollgate-stack.ts'

// The same stack on node:http, without a framework.
serve((upstreamOrigin) =>
  listener(...tollgateStack(upstreamOrigin).map((mount) => (typeof mount === 'function' ? mount : at(mount)))),
)

function at({ path, handler }: { path: string; handler: Handler }): Handler {
  return (req, res, next) => {
    if (req.url === path) handler(req, res, next)
    else next()
  }
}
