import { contextOf } from '@tollgate/core/http/context'
import { holdEnd } from '@tollgate/core/http/observe'
import { recordUsage } from '@tollgate/core/http/record-usage'
import { auth } from '@tollgate/core/middleware/auth'
import { cost } from '@tollgate/core/middleware/cost'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { logging } from '@tollgate/core/middleware/logging'
import { formatUsd } from '@tollgate/core/money'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import { usageFromOpenAi } from '@tollgate/core/wire/openai-usage'
import express, { type Express } from 'express'
import type OpenAI from 'openai'

export interface AppOptions {
  readonly openai: OpenAI
  readonly apiKey: string
  /** Where log lines go. Default: standard output. */
  readonly destination?: { write(line: string): void }
}

/** A handler that calls OpenAI's SDK by hand; one line more, and the call is priced, logged and counted like any other. */
export function makeApp({ openai, apiKey, destination }: AppOptions): Express {
  const directory = memoryDirectory({ apiKeys: [{ key: apiKey, tenant: 'acme', subject: 'website' }] })
  const app = express()
  app.use(logging(destination === undefined ? {} : { destination }), auth({ directory }), cost(), express.json())
  app.post('/summary', async (req, res) => {
    const { text } = req.body as { text: string }
    const model = 'gpt-4o-mini'
    // The call goes on when the caller leaves, and is billed: the line waits for it.
    const release = holdEnd(req, res)
    try {
      const completion = await openai.chat.completions.create({
        model,
        messages: [{ role: 'user', content: `Summarise: ${text}` }],
      })
      const usage = usageFromOpenAi(completion.usage)
      if (usage !== undefined) recordUsage(req, { provider: 'openai', model, usage })
      const { costNanoUsd } = contextOf(req, res)
      res.json({
        summary: completion.choices[0]?.message.content,
        cost_usd: costNanoUsd === undefined ? null : formatUsd(costNanoUsd),
      })
    } finally {
      release()
    }
  })
  app.use(errorHandler())
  return app
}
