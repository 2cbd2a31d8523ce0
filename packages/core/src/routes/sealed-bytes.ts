import type { Principal } from '../principal.js'
import { renamedEvents, renamedIds } from './renamed-ids.js'
import type { ResponseIds, Stored } from './response-ids.js'
import type { RelayBytes } from './send-stream.js'

/**
 * An upstream's bytes with ids for this caller alone.
 *
 * @param given an id that the caller has named: it is told again as it was given
 * @param onResponse told the upstream's own id of each response that is new to the caller
 */
export function sealedBytes(
  ids: ResponseIds,
  principal: Principal | undefined,
  target: Stored['target'],
  given: unknown,
  onResponse: (account: string, id: string) => void = () => {},
): RelayBytes {
  const known = typeof given === 'string' ? ids.open(principal, given)?.id : undefined
  /** A stream says the same id again and again. */
  let last = { id: '', sealed: '' }
  const renaming = (account: string) => (id: string) => {
    if (id === known) return given as string
    if (id === last.id) return last.sealed
    if (id.startsWith('resp_')) onResponse(account, id)
    last = { id, sealed: ids.seal(principal, { account, target, id }) }
    return last.sealed
  }
  return ({ bytes, account }, isStream) => {
    if (account === undefined) return bytes
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return (isStream ? renamedEvents : renamedIds)(buffer, renaming(account))
  }
}
