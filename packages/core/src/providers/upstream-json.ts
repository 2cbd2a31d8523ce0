import { TollgateError } from '../errors.js'

/** What an upstream wrote, as JSON text again, for counting: none for what is nested deeper than `JSON.stringify`, unlike `JSON.parse`, can follow. */
export function countedJson(value: unknown): string {
  return textOf(value) ?? ''
}

/** The arguments of a call as JSON text. @throws TollgateError `upstream_invalid` for what is nested too deeply */
export function argumentsText(upstream: string, value: unknown): string {
  const text = textOf(value ?? {})
  if (text === undefined) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} is nested too deeply.`)
  }
  return text
}

function textOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    if (cause instanceof RangeError) return undefined
    throw cause
  }
}
