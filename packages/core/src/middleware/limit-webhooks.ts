import { formatUsd } from '../money.js'
import type { WebhookSender } from '../webhook-sender.js'
import type { LimitEvent } from './limits.js'

/**
 * Sends what `limits` tells to a webhook: `limit.threshold` with rule, measure, tenant, threshold, limit and what is spent (US dollars as decimal text for money), and `limit.store_failed` once a minute at most. Refusals are too many: count them
 * by `limitMetrics`.
 *
 * @example limits({ rules, onEvent: limitWebhooks(webhookSender({ url, secrets })) })
 */
export function limitWebhooks(sender: WebhookSender): (event: LimitEvent) => void {
  let failedAt = Number.NEGATIVE_INFINITY
  return (event) => {
    if (event.type === 'threshold') {
      const { rule, measure, principal, threshold, limit, spent, requestId } = event
      const shown = (units: number) => (measure === 'money' ? formatUsd(Math.floor(units)) : units)
      const of = { tenant: principal?.tenant ?? null, team: principal?.team ?? null, user: principal?.subject ?? null }
      sender.send('limit.threshold', {
        rule,
        measure,
        ...of,
        threshold,
        limit: shown(limit),
        spent: shown(spent),
        request_id: requestId,
      })
    } else if (event.type === 'store-failed' && performance.now() - failedAt > 60_000) {
      failedAt = performance.now()
      sender.send('limit.store_failed', { rule: event.rule, policy: event.policy })
    }
  }
}
