import { Pool } from 'undici'
import { chatPath, upstreamKey } from '../traffic.ts'

/** Sends a chat request to the upstream, as a hand-written proxy does. */
export type Forward = (body: unknown) => ReturnType<Pool['request']>

export function forwarder(upstreamOrigin: string): Forward {
  const pool = new Pool(upstreamOrigin, { connections: 64 })
  return (body) =>
    pool.request({
      path: chatPath,
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${upstreamKey}` },
      body: JSON.stringify(body),
    })
}
