import type { ServerResponse } from 'node:http'
import { TollgateError } from '../errors.js'
import { openEventStream } from '../http/sse.js'
import type { Part } from '../inference/task.js'
import type { AnsweredStream, OnDisconnect } from './invoke.js'

/** A part in our words, not an upstream's bytes. */
export type TypedPart = Exclude<Part<'generate'>, { type: 'native' }>

/** A part as events of an API; an empty text if it has none for it. */
export type EncodePart = (part: TypedPart) => string

/** An upstream's own bytes; of a stream whole events. `account`: who has stored what they tell. */
export interface NativeBytes {
  readonly bytes: Uint8Array
  readonly account?: string
}

/** What goes out in their place. */
export type RelayBytes = (native: NativeBytes, isStream: boolean) => Uint8Array

export const untouched: RelayBytes = ({ bytes }) => bytes

interface SendOptions {
  readonly encode: EncodePart
  readonly relay: RelayBytes
  /** After the last event. */
  readonly end: string | undefined
  /** What goes out after silence. Default: a comment. */
  readonly heartbeat: string | undefined
  readonly heartbeatMs: number | undefined
  readonly onDisconnect: OnDisconnect
}

/** Sends a stream's parts on as they come: the upstream's own bytes, or events in the words of the route. */
export async function sendStream(
  res: ServerResponse,
  { parts }: AnsweredStream<'generate'>,
  { encode, relay, end, heartbeat, heartbeatMs, onDisconnect }: SendOptions,
): Promise<void> {
  const events = openEventStream(res, {
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    ...(heartbeat === undefined ? {} : { heartbeat }),
  })
  let native = false
  for await (const part of parts) {
    if (part.type === 'native') native = true
    // The upstream's own bytes hold their own end.
    else if (native) continue
    // Nobody reads any more; the rest is for the bill.
    if (onDisconnect === 'drain' && !events.isOpen()) continue
    const bytes = part.type === 'native' ? relay(part, true) : encode(part)
    const drained = bytes.length === 0 ? undefined : events.send(bytes)
    if (drained !== undefined) await drained
    if (onDisconnect === 'abort' && !events.isOpen())
      throw new TollgateError('client_closed', 'The caller left before the answer was complete.')
  }
  events.end(end)
}
