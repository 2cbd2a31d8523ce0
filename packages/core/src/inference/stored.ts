import { TollgateError } from '../errors.js'
import type { Call, Model } from './model.js'
import type { GenerateInput } from './task.js'

/** A question about something that an upstream has stored. */
export interface StoredRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** In the upstream's own words, below its base URL: `/responses/resp_1/input_items?limit=2`. */
  readonly path: string
  /** The answer is wanted as an event stream. */
  readonly stream: boolean
}

/** The upstream's own bytes: all of them, or of a stream whole events, to be iterated once. */
export type StoredAnswer = { readonly bytes: Uint8Array } | { readonly events: AsyncIterable<Uint8Array> }

/** Asks one account at an upstream; `undefined` if it is nobody's here. */
export type AskStored = (
  account: string,
  request: StoredRequest,
  call: Pick<Call, 'signal' | 'requestId'>,
) => Promise<StoredAnswer> | undefined

/** What refers to something stored is answered by the account that has it, and by no other. */
export function reaches(model: Pick<Model, 'accounts'>, input: object): boolean {
  const { account, isBridgeable = false } = (input as Partial<GenerateInput>).native ?? {}
  const { accounts = [] } = model
  return account === undefined || (accounts.length === 0 ? isBridgeable : accounts.includes(account))
}

/** The same answer; `end` is called when it is over. */
export function endedAnswer(answer: StoredAnswer, end: () => void): StoredAnswer {
  if ('events' in answer) return { events: untilOver(answer.events, end) }
  end()
  return answer
}

async function* untilOver(events: AsyncIterable<Uint8Array>, end: () => void): AsyncGenerator<Uint8Array> {
  try {
    yield* events
  } finally {
    end()
  }
}

/**
 * The one answer to ids that are nobody's, another's or forgotten: whoever asks learns nothing from it.
 *
 * @param path the field that named it
 */
export function notStored(path?: string): TollgateError {
  const errors = path === undefined ? {} : { errors: [{ path, message: 'names nothing that is stored' }] }
  return new TollgateError('not_found', 'Nothing is stored under that id.', errors)
}

/** For a model of another upstream than the one that has what the request goes on from. */
export function storedElsewhere(): TollgateError {
  return new TollgateError(
    'invalid_request',
    'What this request goes on from is stored at another upstream than the model is of. Name the model that answered it, or send the whole conversation.',
    { errors: [{ path: 'model', message: 'is of another upstream than what the request goes on from' }] },
  )
}
