import { hash, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** What an API key, or another credential of the same build, is for. */
export type KeyKind = 'live' | 'test' | 'refresh'

/** A key in its parts. */
export interface ParsedKey {
  readonly kind: KeyKind
  /** Public: 12 characters of base62. */
  readonly id: string
  /** Secret: 32 characters of base62, 190 bits. */
  readonly secret: string
}

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const shape = /^tg_(live|test|refresh)_([0-9A-Za-z]{12})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})$/

/**
 * Finds keys in texts: logs, commits, tickets. What it finds is worth {@link parseApiKey}, which checks the checksum too.
 * For scanners that take a pattern: `\btg_(?:live|test|refresh)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b`.
 */
export const apiKeyScan: RegExp = /\btg_(?:live|test|refresh)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b/g

/** Draws an id: 12 characters of base62, 71 bits. */
export function drawKeyId(): string {
  return draw(12)
}

/**
 * Draws a key, `tg_<live|test|refresh>_<id>_<secret><crc32>`. The checksum is the CRC-32 of all before it, in 6 digits of base62: it tells a typing
 * mistake, or a text that is no key at all, from a key without asking anyone. It protects nothing.
 *
 * @param id of a key that gets a new secret. Default: a new one
 */
export function drawApiKey(kind: KeyKind, id: string = drawKeyId()): string {
  const body = `tg_${kind}_${id}_${draw(32)}`
  return `${body}${checksum(body)}`
}

/** The parts of a key; `undefined` if it is none, or its checksum is wrong. */
export function parseApiKey(text: string): ParsedKey | undefined {
  const match = shape.exec(text)
  if (match === null) return undefined
  const [, kind, id = '', secret = '', sum] = match
  if (checksum(text.slice(0, -6)) !== sum) return undefined
  return { kind: kind as KeyKind, id, secret }
}

/** Does the text claim to be a key of this build? Then it is a wrong one if {@link parseApiKey} does not take it. */
export function looksLikeApiKey(text: string): boolean {
  return /^tg_(?:live|test|refresh)_/.test(text)
}

/**
 * By what a directory finds a credential: the public id in a key of ours; for a text of another form `sha256:` and its digest.
 *
 * @param digest SHA-256 of the text in hexadecimal, if it is known already
 */
export function credentialId(text: string, digest: string = hash('sha256', text)): string {
  return parseApiKey(text)?.id ?? `sha256:${digest}`
}

function draw(length: number): string {
  let text = ''
  for (let index = 0; index < length; index += 1) text += base62[randomInt(62)]
  return text
}

function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let index = 0; index < 6; index += 1) {
    digits = `${base62[rest % 62]}${digits}`
    rest = Math.floor(rest / 62)
  }
  return digits
}
