import { type BinaryLike, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { configInvalid, TollgateError } from '../errors.js'

/** What a hash costs, in scrypt's own terms (RFC 7914). Memory is 128 · cost · blockSize bytes. */
export interface ScryptParameters {
  /** N, a power of two. Default 32,768. */
  readonly cost?: number
  /** r. Default 8. */
  readonly blockSize?: number
  /** p. Default 3. */
  readonly parallelization?: number
}

interface PasswordHash extends Required<ScryptParameters> {
  readonly salt: Buffer
  readonly hash: Buffer
}

/** One of OWASP's recommended strengths for scrypt: 32 MiB and about a third of a second of CPU. */
const defaultParameters: Required<ScryptParameters> = { cost: 32_768, blockSize: 8, parallelization: 3 }

// A hash comes from a file or a database: it must not be able to ask for all the memory or a minute of CPU.
const maxMemoryBytes = 268_435_456
const maxWork = 4_194_304
const maxPasswordBytes = 1024

const phcPattern =
  /^\$scrypt\$ln=([1-9]\d?),r=([1-9]\d{0,2}),p=([1-9]\d{0,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

const derive = promisify(scrypt) as (
  password: BinaryLike,
  salt: BinaryLike,
  length: number,
  options: ScryptOptions,
) => Promise<Buffer>

/**
 * Hashes a password with scrypt and a fresh salt into a PHC string, `$scrypt$ln=15,r=8,p=3$<salt>$<hash>`. The password is normalised
 * first (NFKC), so that it does not matter on which keyboard it was typed. Runs on libuv's threads.
 *
 * @throws TollgateError `invalid_request` if the password is empty or over 1,024 bytes; `config_invalid` for parameters out of bounds
 * @example const passwordHash = await hashPassword('correct horse battery staple')
 */
export async function hashPassword(password: string, parameters: ScryptParameters = {}): Promise<string> {
  const chosen = { ...defaultParameters, ...parameters }
  const { cost, blockSize, parallelization } = chosen
  if (!isAffordable(chosen)) {
    throw configInvalid(
      `hashPassword: cost ${cost}, blockSize ${blockSize}, parallelization ${parallelization} are out of bounds: cost is a power of two ` +
        `from 1,024, 128 · cost · blockSize at most ${maxMemoryBytes}, cost · blockSize · parallelization at most ${maxWork}.`,
    )
  }
  if (password === '' || Buffer.byteLength(password) > maxPasswordBytes) {
    throw new TollgateError('invalid_request', `A password has 1 to ${maxPasswordBytes} bytes.`)
  }
  const salt = randomBytes(16)
  return phcString({ ...chosen, salt, hash: await deriveKey(password, { ...chosen, salt }, 32) })
}

/**
 * Is this the password that the PHC string was made of? Compares in constant time; an over-long password is simply not it.
 *
 * @throws TollgateError `config_invalid` if the hash is not a scrypt PHC string or asks for too much (256 MiB, about two seconds)
 */
export async function verifyPassword(password: string, passwordHash: string): Promise<boolean> {
  const known = parsePhc(passwordHash)
  if (known === undefined) throw configInvalid(`A password hash must be ${phcShape}.`)
  if (Buffer.byteLength(password) > maxPasswordBytes) return false
  return timingSafeEqual(await deriveKey(password, known, known.hash.length), known.hash)
}

/** Is the hash weaker than what {@link hashPassword} makes now? Its parameters, not its password. */
export function isWeakHash(passwordHash: string): boolean {
  const known = parsePhc(passwordHash)
  if (known === undefined) return false
  const work = ({ cost, blockSize, parallelization }: Required<ScryptParameters>) => cost * blockSize * parallelization
  return work(known) < work(defaultParameters)
}

/** What {@link isPasswordHash} accepts, for error messages. */
export const phcShape = 'a PHC string of hashPassword: $scrypt$ln=15,r=8,p=3$<salt>$<hash>'

/** Would {@link verifyPassword} accept this as a hash? */
export function isPasswordHash(text: string): boolean {
  return parsePhc(text) !== undefined
}

/** A hash of no password at all, to spend the usual time on when there is no user. */
export function decoyPasswordHash(parameters: ScryptParameters = {}): string {
  return phcString({ ...defaultParameters, ...parameters, salt: randomBytes(16), hash: randomBytes(32) })
}

function deriveKey(password: string, to: Omit<PasswordHash, 'hash'>, length: number): Promise<Buffer> {
  const { cost, blockSize, parallelization, salt } = to
  const maxmem = 128 * blockSize * (cost + parallelization + 2)
  return derive(password.normalize('NFKC'), salt, length, { cost, blockSize, parallelization, maxmem })
}

function parsePhc(text: string): PasswordHash | undefined {
  const match = phcPattern.exec(text)
  if (match === null) return undefined
  const [, ln, r, p, salt = '', hash = ''] = match
  const parameters = { cost: 2 ** Number(ln), blockSize: Number(r), parallelization: Number(p) }
  if (!isAffordable(parameters)) return undefined
  const known = { ...parameters, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') }
  // The same bytes must have one spelling.
  return phcString(known) === text ? known : undefined
}

function isAffordable({ cost, blockSize, parallelization }: Required<ScryptParameters>): boolean {
  const whole = [cost, blockSize, parallelization].every((value) => Number.isSafeInteger(value) && value >= 1)
  return (
    whole &&
    cost >= 1024 &&
    Number.isInteger(Math.log2(cost)) &&
    128 * cost * blockSize <= maxMemoryBytes &&
    cost * blockSize * parallelization <= maxWork
  )
}

function phcString({ cost, blockSize, parallelization, salt, hash }: PasswordHash): string {
  return `$scrypt$ln=${Math.log2(cost)},r=${blockSize},p=${parallelization}$${unpadded(salt)}$${unpadded(hash)}`
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
