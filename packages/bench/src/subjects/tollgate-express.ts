import express from 'express'
import { serve } from './serve.ts'
import { tollgateStack } from './tollgate-stack.ts'

// Tollgate's full stack on Express 5.
serve((upstreamOrigin) => {
  const app = express()
  app.disable('x-powered-by')
  // Answers are made for one caller: a validator would cost a hash each and match never.
  app.disable('etag')
  for (const mount of tollgateStack(upstreamOrigin)) {
    if (typeof mount === 'function') app.use(mount)
    else app.use(mount.path, mount.handler)
  }
  return app
})
