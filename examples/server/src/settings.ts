import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { sharedKinds } from '@tollgate/core/routes/responses'
import { z } from 'zod'

/** A mistake in the environment: which variable, what is wrong, and how to mend it. */
export interface Mistake {
  readonly name: string
  readonly message: string
}

/** All mistakes of the environment at once. */
export class SettingsError extends Error {
  readonly mistakes: readonly Mistake[]

  constructor(mistakes: readonly Mistake[]) {
    super(['The settings have mistakes:', ...mistakes.map(({ name, message }) => `  ${name}: ${message}`)].join('\n'))
    this.name = 'SettingsError'
    this.mistakes = mistakes
  }
}

const wholeNumber = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be from ${least} to ${most}`)

const yesOrNo = z
  .enum(['true', 'false', '1', '0', 'yes', 'no'], { error: 'must be true or false' })
  .transform((value) => ['true', '1', 'yes'].includes(value))

const httpUrl = z
  .string()
  .refine((value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol), 'must be an http(s) URL')

/** As browsers have it: others cannot listen in on what stays on this host. */
const safeUrl = httpUrl.refine((value) => {
  if (!URL.canParse(value)) return false
  const { protocol, hostname } = new URL(value)
  return protocol === 'https:' || /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)
}, 'must be https: (http: on localhost only)')

const secret = z.string().min(16, 'is too short to be a secret: use 16 characters or more')
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== ''),
)

const json = z.string().transform((value, context): unknown => {
  try {
    return JSON.parse(value)
  } catch {
    context.addIssue({ code: 'custom', message: 'is not valid JSON' })
    return z.NEVER
  }
})

const environment = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: wholeNumber(0, 65_535).default(8000),
  API_KEY: secret.optional(),
  API_KEY_TIER: z
    .enum(['free', 'pro', 'enterprise'], { error: 'must be free, pro or enterprise' })
    .default('enterprise'),
  MODEL_NAME: z.string().min(1).max(256).optional(),
  OPENAI_API_KEY: z.string().min(1).optional(),
  OPENAI_BASE_URL: httpUrl.optional(),
  ANTHROPIC_API_KEY: z.string().min(1).optional(),
  ANTHROPIC_BASE_URL: httpUrl.optional(),
  GATEWAY_CONFIG: z.string().min(1).optional(),
  EMBEDDING_MODEL_NAME: z.string().min(1).max(256).optional(),
  USERS: z.string().optional(),
  USERS_FILE: z.string().optional(),
  DATABASE_URL: z
    .string()
    .refine((value) => /^postgres(ql)?:\/\//.test(value) && URL.canParse(value), 'must be a URL postgres://…')
    .optional(),
  DATA_FOLDER: z.string().min(1).default('.data'),
  REDIS_URL: z
    .string()
    .refine((value) => /^rediss?:\/\//.test(value) && URL.canParse(value), 'must be a URL redis://… or rediss://…')
    .optional(),
  LIMITS: json.optional(),
  WEBHOOK_URL: safeUrl.optional(),
  WEBHOOK_SECRET: list.optional(),
  PUBLIC_URL: safeUrl.refine((value) => !/[?#]/.test(value), 'must have no query and no fragment').optional(),
  PASSWORD_GRANT: yesOrNo.default(false),
  OIDC_ISSUERS: list.pipe(z.array(safeUrl)).optional(),
  JWT_DEFAULT_SCOPES: list.default(['predict', 'batch', 'chat', 'embed']),
  IDENTITY_SECRET: z.string().min(32, 'must have 32 characters or more').optional(),
  JWT_SECRET: z.string().min(32, 'must have 32 characters or more (HS256 needs 256 bits)').optional(),
  JWT_ISSUER: z.string().min(1).default('tollgate'),
  JWT_AUDIENCE: z.string().min(1).default('tollgate'),
  JWT_JWKS_URL: httpUrl.optional(),
  JWT_JWKS_ISSUER: z.string().min(1).optional(),
  RATE_LIMIT_FREE: wholeNumber(0, 1_000_000).default(10),
  RATE_LIMIT_PRO: wholeNumber(0, 1_000_000).default(100),
  RATE_LIMIT_ENTERPRISE: wholeNumber(0, 1_000_000).default(1000),
  TRUST_PROXY: list.optional(),
  MAX_BODY_BYTES: wholeNumber(1, 1_073_741_824).default(1_048_576),
  MAX_UPLOAD_BYTES: wholeNumber(1, 1_099_511_627_776).default(104_857_600),
  UPLOAD_FOLDER: z.string().min(1).default(tmpdir()),
  REQUEST_TIMEOUT_SECONDS: wholeNumber(1, 86_400).default(300),
  DRAIN_SECONDS: wholeNumber(0, 3600).default(30),
  CACHE_TTL_SECONDS: wholeNumber(0, 2_592_000).default(60),
  CACHE_MAX_BYTES: wholeNumber(0, 1_099_511_627_776).default(67_108_864),
  PRICES: json.optional(),
  UNKNOWN_PRICE: z.enum(['reject', 'allow'], { error: 'must be reject or allow' }).optional(),
  RESPONSE_IDS_SECRET: list.pipe(z.array(z.string().min(32, 'must have 32 characters or more')).min(1)).optional(),
  RESPONSES_ALLOW: list
    .pipe(z.array(z.enum(sharedKinds, { error: `must be of ${sharedKinds.join(', ')}` })))
    .default([]),
  CORS_ORIGINS: list.optional(),
  METRICS_PUBLIC: yesOrNo.default(true),
  LOG_LEVEL: z
    .enum(['error', 'warn', 'info', 'debug', 'silent'], {
      error: 'must be error, warn, info, debug or silent',
    })
    .default('info'),
})

/** Names of the settings, for a test that holds `docs/guides/settings.md` to them. */
export const settingNames: readonly string[] = Object.keys(environment.shape)

/** The server's settings, whole and checked. */
export type Settings = Omit<z.output<typeof environment>, 'USERS' | 'USERS_FILE'> & {
  /** JSON text of the users, from `USERS` or the file of `USERS_FILE`. */
  readonly usersJson: string | undefined
}

/** Is there an upstream that speaks OpenAI's API? */
export function hasOpenAi(settings: Pick<Settings, 'OPENAI_API_KEY' | 'OPENAI_BASE_URL'>): boolean {
  return settings.OPENAI_API_KEY !== undefined || settings.OPENAI_BASE_URL !== undefined
}

/** Is there one that speaks Anthropic's? */
export function hasAnthropic(settings: Pick<Settings, 'ANTHROPIC_API_KEY' | 'ANTHROPIC_BASE_URL'>): boolean {
  return settings.ANTHROPIC_API_KEY !== undefined || settings.ANTHROPIC_BASE_URL !== undefined
}

/**
 * Reads the settings from environment variables. An empty variable counts as not set. Variables that are not settings are left alone.
 *
 * @param embeddedModels names that `MODEL_NAME` may have without an upstream
 * @throws SettingsError with every mistake at once
 */
export function readSettings(
  variables: Readonly<Record<string, string | undefined>>,
  embeddedModels: readonly string[],
): Settings {
  const given = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''))
  const parsed = environment.safeParse(given)
  const mistakes: Mistake[] = (parsed.error?.issues ?? []).map((issue) => ({
    name: String(issue.path[0] ?? ''),
    message: issue.message,
  }))
  // Checked one by one, so that these show beside the mistakes above.
  const openAi = given['OPENAI_API_KEY'] !== undefined || given['OPENAI_BASE_URL'] !== undefined
  const modelName = given['MODEL_NAME']
  const anthropic = given['ANTHROPIC_API_KEY'] !== undefined || given['ANTHROPIC_BASE_URL'] !== undefined
  const configured = given['GATEWAY_CONFIG'] !== undefined
  if (!configured && !openAi && !anthropic && modelName !== undefined && !embeddedModels.includes(modelName)) {
    mistakes.push({
      name: 'MODEL_NAME',
      message: `'${modelName}' is not embedded here: set OPENAI_API_KEY, OPENAI_BASE_URL or ANTHROPIC_API_KEY, or use ${embeddedModels.join(', ')}`,
    })
  }
  if (
    !configured &&
    modelName === undefined &&
    given['OPENAI_BASE_URL'] !== undefined &&
    !isOpenAi(given['OPENAI_BASE_URL'])
  ) {
    mistakes.push({
      name: 'MODEL_NAME',
      message: 'say which model of OPENAI_BASE_URL answers when a request names none',
    })
  }
  if (given['JWT_JWKS_URL'] !== undefined && given['JWT_JWKS_ISSUER'] === undefined) {
    mistakes.push({ name: 'JWT_JWKS_ISSUER', message: 'say which issuer (iss) the tokens of JWT_JWKS_URL carry' })
  }
  if (given['DATABASE_URL'] !== undefined && given['IDENTITY_SECRET'] === undefined) {
    mistakes.push({
      name: 'IDENTITY_SECRET',
      message:
        'is needed with DATABASE_URL, the same for all servers: node -p "crypto.randomBytes(32).toString(\'base64url\')"',
    })
  }
  if (given['WEBHOOK_URL'] !== undefined && given['WEBHOOK_SECRET'] === undefined) {
    mistakes.push({
      name: 'WEBHOOK_SECRET',
      message: "is needed with WEBHOOK_URL: node -p \"'whsec_' + crypto.randomBytes(32).toString('base64')\"",
    })
  }
  const hasUsers = given['USERS'] !== undefined || given['USERS_FILE'] !== undefined
  if (hasUsers && yesOrNo.safeParse(given['PASSWORD_GRANT'] ?? 'no').data === false) {
    mistakes.push({
      name: 'PASSWORD_GRANT',
      message:
        'set it to true, so that the users of USERS can log in with their passwords (RFC 9700 advises against it)',
    })
  }
  if (given['USERS'] !== undefined && given['USERS_FILE'] !== undefined) {
    mistakes.push({ name: 'USERS_FILE', message: 'give either USERS or USERS_FILE, not both' })
  }
  let usersJson = given['USERS']
  if (given['USERS_FILE'] !== undefined) {
    try {
      usersJson = readFileSync(given['USERS_FILE'], 'utf8')
    } catch (error) {
      mistakes.push({
        name: 'USERS_FILE',
        message: `cannot be read (${(error as NodeJS.ErrnoException).code}): ${given['USERS_FILE']}`,
      })
    }
  }
  if (!parsed.success || mistakes.length > 0) throw new SettingsError(mistakes)
  const { USERS: _users, USERS_FILE: _usersFile, ...settings } = parsed.data
  return { ...settings, usersJson }
}

/** Is this OpenAI's own endpoint, whose model names and prices are known? */
export function isOpenAi(baseUrl: string | undefined): boolean {
  return baseUrl === undefined || (URL.canParse(baseUrl) && new URL(baseUrl).hostname === 'api.openai.com')
}
