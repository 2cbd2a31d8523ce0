import { auth } from '@tollgate/core/middleware/auth'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { rateLimit } from '@tollgate/core/middleware/rate-limit'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import express, { type Express } from 'express'

/** An app that existed before, with three lines added: who may call, and how often. */
export function makeApp(apiKey: string): Express {
  const directory = memoryDirectory({
    apiKeys: [{ key: apiKey, tenant: 'acme', subject: 'website', tier: 'free' }],
  })

  const app = express()
  app.get('/', (_req, res) => void res.send('open to all'))
  app.use('/reports', auth({ directory }), rateLimit())
  app.get('/reports/:id', (req, res) => void res.json({ report: req.params.id }))
  app.use(errorHandler())
  return app
}
