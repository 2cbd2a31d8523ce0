import type { Guard } from '../wrappers/guard.js'
import { redactPii } from '../wrappers/redact-pii.js'
import type { ReadGatewayConfig } from './config.js'

/** Guards are made where they stand: what one remembers is of one place. */
export function configuredGuards(given: ReadGatewayConfig['guards'] = []): Guard[] {
  return given.map((guard) => {
    if (!('type' in guard) || guard.type !== 'redact') return guard as Guard
    const { type: _, patterns, ...options } = guard
    const compiled = Object.entries(patterns).map(([name, source]): [string, RegExp] => [
      name,
      new RegExp(source, 'gu'),
    ])
    return redactPii({ ...options, patterns: Object.fromEntries(compiled) })
  })
}
