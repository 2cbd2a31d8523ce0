import { type FieldError, TollgateError } from '../errors.js'
import { notStored } from '../inference/stored.js'
import type { NativeRequest } from '../inference/task.js'
import type { Principal } from '../principal.js'
import type { ResponsesItem } from '../wire/openai-responses.js'
import type { ResponseIds } from './response-ids.js'

/** What a request may name of the account at the upstream that all callers share. */
export const sharedKinds = [
  'conversation',
  'prompt',
  'items',
  'files',
  'vector-stores',
  'containers',
  'skills',
  'tunnels',
] as const

export type SharedKind = (typeof sharedKinds)[number]

interface Rules {
  readonly ids: ResponseIds | undefined
  readonly principal: Principal | undefined
  /** Kinds that pass as they are, whoever asks. */
  readonly allow: ReadonlySet<SharedKind>
}

type Fields = Readonly<Record<string, unknown>>

/**
 * A request of the Responses API as an upstream may get it: ids that this caller was given are the upstream's own again, and with them goes whose they are. What names anything else of the upstream's account is refused, by whoever would hand it on.
 */
export function withStoredReferences(raw: Fields, rules: Rules): Omit<NativeRequest, 'dialect'> {
  const { ids, principal, allow } = rules
  const itemsAreShared = allow.has('items')
  let account: string | undefined
  let isBridgeable = true
  let refused: TollgateError | undefined
  const refuse = (error: TollgateError) => {
    refused ??= error
  }
  /** The upstream's own id, of something that is only where it is stored. */
  const named = (id: unknown, path: string, mend: string, isAllowed = false): unknown => {
    const stored = typeof id === 'string' ? ids?.open(principal, id) : undefined
    if (stored === undefined) {
      if (!isAllowed) refuse(ids === undefined ? unshared(path, mend) : notStored(path))
      return id
    }
    if (account === undefined || account === stored.account) account = stored.account
    else refuse(invalid(path, 'is stored at another upstream than what else this request names'))
    return stored.id
  }
  /** The upstream's own id of what goes without. One that is nobody's is left out: the upstream may tell it again, and it would be sealed as this caller's. */
  const opened = (id: unknown): unknown => {
    if (ids === undefined || typeof id !== 'string') return id
    return ids.open(principal, id)?.id ?? (itemsAreShared ? id : undefined)
  }

  const itemOf = (item: ResponsesItem, index: number): ResponsesItem => {
    const { id, approval_request_id: request, ...others } = item
    const isElsewhere = !isWhole(item)
    if (isElsewhere && item.type !== 'reasoning') isBridgeable = false
    const own = isElsewhere ? named(id, `input[${index}].id`, mendOfItems, itemsAreShared) : opened(id)
    const answered = opened(request)
    return {
      ...others,
      ...(own === undefined ? undefined : { id: own }),
      ...(answered === undefined ? undefined : { approval_request_id: answered }),
    }
  }

  const { input, previous_response_id: previous, background } = raw
  const body: Record<string, unknown> = { ...raw }
  if (background === true) refuse(invalid('background', mendOfBackground))
  if (given(previous)) {
    isBridgeable = false
    body['previous_response_id'] = named(previous, 'previous_response_id', mendOfResponses)
  }
  if (Array.isArray(input)) body['input'] = (input as ResponsesItem[]).map(itemOf)
  const shared = sharedIn(raw, allow)
  if (shared !== undefined) refuse(unshared(shared.path, `the operator may allow ${shared.kind}`))
  return {
    body,
    ...(account === undefined ? undefined : { account, isBridgeable }),
    ...(refused === undefined ? undefined : { refused }),
  }
}

const mendOfOperator = 'have the operator give responses() its ids (of the reference server: set RESPONSE_IDS_SECRET)'
const mendOfResponses = `send the whole conversation, or ${mendOfOperator}`
const mendOfItems = `send items with all they hold (of thoughts their encrypted_content, which include: ['reasoning.encrypted_content'] asks for), or ${mendOfOperator}`
const mendOfBackground =
  'cannot be true: what a response uses after its request is over could not be billed; ask for a stream instead'

/** Does an item hold all that it stands for? Of others the upstream looks up the rest by their id. */
function isWhole({ type = 'message', role, content, encrypted_content: proof, result }: ResponsesItem): boolean {
  if (type === 'message') return role !== undefined && content !== undefined
  if (type === 'reasoning' || type === 'compaction') return typeof proof === 'string'
  if (type === 'image_generation_call') return typeof result === 'string'
  return type.endsWith('_output') || wholeTypes.has(type)
}

const wholeTypes: ReadonlySet<string> = new Set([
  ...['function_call', 'custom_tool_call', 'computer_call', 'local_shell_call', 'shell_call', 'apply_patch_call'],
  ...['mcp_list_tools', 'mcp_approval_request', 'mcp_approval_response', 'mcp_call', 'tool_search_call'],
  ...['additional_tools', 'compaction_trigger'],
])

/** Fields that name something of the account, wherever they stand. */
const sharedFields: Readonly<Record<string, SharedKind>> = {
  file_id: 'files',
  file_ids: 'files',
  vector_store_ids: 'vector-stores',
  container: 'containers',
  container_id: 'containers',
  skill_id: 'skills',
  tunnel_id: 'tunnels',
}

/** What is in these is the caller's own: schemas, remarks, and what tools have found. */
const ownFields: ReadonlySet<string> = new Set([
  ...['metadata', 'parameters', 'schema', 'input_schema', 'output_schema'],
  ...['annotations', 'results', 'headers'],
])

/** The first thing of the account that a request names and may not. */
function sharedIn(raw: Fields, allow: ReadonlySet<SharedKind>): { path: string; kind: SharedKind } | undefined {
  for (const kind of ['conversation', 'prompt'] as const) {
    if (given(raw[kind]) && !allow.has(kind)) return { path: kind, kind }
  }
  // Not by recursion: how deep a body goes is the caller's choice.
  const waiting: Array<{ readonly value: object; readonly path: string }> = [{ value: raw, path: '' }]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const isList = Array.isArray(next.value)
    for (const [name, value] of Object.entries(next.value) as Array<[string, unknown]>) {
      const path = () => (isList ? `${next.path}[${name}]` : next.path === '' ? name : `${next.path}.${name}`)
      const kind = isList || !Object.hasOwn(sharedFields, name) ? undefined : sharedFields[name]
      if (kind !== undefined && !allow.has(kind) && names(value)) return { path: path(), kind }
      if (typeof value !== 'object' || value === null || (!isList && ownFields.has(name))) continue
      waiting.push({ value, path: path() })
    }
  }
  return undefined
}

/** An id, or a list of such; an object asks for a new one. */
function names(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : typeof value === 'string'
}

function given(value: unknown): boolean {
  return value !== undefined && value !== null
}

function unshared(path: string, mend: string): TollgateError {
  return invalid(path, `names something of the account that all callers share at the upstream: ${mend}`)
}

function invalid(path: string, message: string): TollgateError {
  const errors: FieldError[] = [{ path, message }]
  return new TollgateError('invalid_request', `${path} ${message}.`, { errors })
}
