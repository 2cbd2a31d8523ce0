import { portkeyVersion } from './portkey-install.ts'
import { type Credentials, type Scenario, upstreamKey } from './traffic.ts'

/** A server that is measured. */
export interface Subject {
  readonly name: string
  /** Its process, in `subjects/`. */
  readonly file: string
  readonly credentials: Credentials
  /** What its callers have to send besides. */
  readonly headers?: (upstreamOrigin: string) => Readonly<Record<string, string>>
  readonly variables?: Readonly<Record<string, string>>
  /** Default: all. */
  readonly scenarios?: readonly Scenario[]
  /** Does it answer repeated requests from a cache? */
  readonly caches?: true
}

/** What everything is compared with: express.json, undici and nothing else. */
export const base: Subject = { name: 'Express 5 proxy', file: 'subjects/express-bare.ts', credentials: 'none' }

/** The packages that people assemble today, as their READMEs show. */
export const assembled: Subject = {
  name: 'Assembled stack',
  file: 'subjects/peers-readme.ts',
  credentials: 'jwt',
}

const tuned: Subject = {
  name: 'Assembled stack, tuned',
  file: 'subjects/peers-tuned.ts',
  credentials: 'jwt',
}

const tollgateExpress = 'subjects/tollgate-express.ts'
const tollgateNode = 'subjects/tollgate-node.ts'

const hits = { variables: { CACHE: 'on' }, scenarios: ['json'], caches: true } as const

/** Tollgate's full stack, the one the targets speak of. */
export const tollgate: Subject = { name: 'Tollgate on Express, JWT', file: tollgateExpress, credentials: 'jwt' }

/** All but the base, in the order of the table. */
export const compared: readonly Subject[] = [
  { name: 'node:http proxy', file: 'subjects/node-bare.ts', credentials: 'none' },
  assembled,
  tuned,
  tollgate,
  { name: 'Tollgate on Express, API key', file: tollgateExpress, credentials: 'api-key' },
  { name: 'Tollgate on node:http, JWT', file: tollgateNode, credentials: 'jwt' },
  { name: 'Tollgate on node:http, API key', file: tollgateNode, credentials: 'api-key' },
  { name: 'Tollgate on Express, cache hit', file: tollgateExpress, credentials: 'jwt', ...hits },
  { name: 'Tollgate on node:http, cache hit', file: tollgateNode, credentials: 'jwt', ...hits },
]

/**
 * Portkey's gateway as its package runs it, and not among {@link compared}: it has to be fetched first. It lets everybody in, limits
 * nothing and counts nothing; callers bring the provider's own key and say where the provider is.
 */
export const portkey: Subject = {
  name: `Portkey ${portkeyVersion}`,
  file: 'subjects/portkey.ts',
  credentials: 'none',
  headers: (upstreamOrigin) => ({
    authorization: `Bearer ${upstreamKey}`,
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `${upstreamOrigin}/v1`,
  }),
}
