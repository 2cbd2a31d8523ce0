import { z } from 'zod'
import { isScope } from '../scopes.js'
import type {
  CreateApiKey,
  CreateRole,
  CreateTeam,
  CreateTenant,
  CreateUser,
  RotateApiKey,
  UpdateApiKey,
  UpdateRole,
  UpdateTeam,
  UpdateTenant,
  UpdateUser,
} from './identity.js'

const scopes = z.array(z.string().refine(isScope, 'must be one scope: visible ASCII without blanks, " and \\')).max(100)
const roles = z.array(z.string().min(1).max(128)).max(100)
const models = z.array(z.string().min(1).max(256)).max(100)
const addresses = z.array(z.string().min(1).max(64)).min(1).max(100)
const name = z.string().trim().min(1).max(256)
const tier = z.string().min(1).max(128)
/** Numbers are exact up to here. */
const mostUnits = Number.MAX_SAFE_INTEGER
const limits = z
  .record(
    z.string().regex(/^[\w.-]{1,64}$/, 'must be the name of a rule'),
    z.union([
      z.number().min(0).max(mostUnits),
      z.string().regex(/^\d{1,15}(\.\d{1,9})?$/, 'must be a decimal from 0 to 10^15'),
    ]),
  )
  .refine((amounts) => Object.keys(amounts).length <= 50, 'must have 50 rules or less')
const time = z.iso.datetime({ offset: true, error: 'must be a time as ISO 8601 with its zone: 2027-01-31T00:00:00Z' })
const tenant = z.string().min(1).max(512)
const team = z.string().min(1).max(512)
const password = z
  .string()
  .min(8, 'must have 8 characters or more')
  .refine((text) => new TextEncoder().encode(text).length <= 1024, 'must have 1,024 bytes or less')
const id = z
  .string()
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9._:@-]{0,126}[A-Za-z0-9])?$/,
    'must be 1 to 128 letters, digits and . _ : @ -, with a letter or digit at both ends',
  )
/** Without a colon, which the subjects of keys have. */
const username = z
  .string()
  .max(256)
  .regex(/^[^\p{Cc}\p{Cs}:]+$/u, 'must have 1 to 256 characters, without : and control characters')
  .refine((text) => text === text.trim(), 'must not begin or end with a blank')
  .refine((text) => text === text.normalize('NFC'), 'must be in Unicode normal form C')

export const createApiKey = z.strictObject({
  name,
  owner: z
    .strictObject({ type: z.enum(['tenant', 'team', 'user']), id: z.string().min(1).max(512).optional() })
    .optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  models: models.optional(),
  tier: tier.optional(),
  limits: limits.optional(),
  allowed_addresses: addresses.optional(),
  expires_at: time.optional(),
  tenant: tenant.optional(),
}) satisfies z.ZodType<CreateApiKey>

export const updateApiKey = z.strictObject({
  name: name.optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  models: models.nullable().optional(),
  tier: tier.nullable().optional(),
  limits: limits.nullable().optional(),
  allowed_addresses: addresses.nullable().optional(),
  expires_at: time.nullable().optional(),
}) satisfies z.ZodType<UpdateApiKey>

export const rotateApiKey = z.strictObject({
  grace_seconds: z.int().min(0).max(2_592_000).optional(),
}) satisfies z.ZodType<RotateApiKey>

export const createUser = z.strictObject({
  username,
  password: password.optional(),
  team: team.optional(),
  tier: tier.optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  tenant: tenant.optional(),
}) satisfies z.ZodType<CreateUser>

export const updateUser = z.strictObject({
  password: password.nullable().optional(),
  team: team.nullable().optional(),
  tier: tier.nullable().optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  disabled: z.boolean().optional(),
}) satisfies z.ZodType<UpdateUser>

export const createTenant = z.strictObject({
  id,
  name: name.optional(),
  tier: tier.optional(),
  models: models.optional(),
  limits: limits.optional(),
}) satisfies z.ZodType<CreateTenant>

export const updateTenant = z.strictObject({
  name: name.optional(),
  tier: tier.nullable().optional(),
  models: models.nullable().optional(),
  limits: limits.nullable().optional(),
  disabled: z.boolean().optional(),
}) satisfies z.ZodType<UpdateTenant>

export const createTeam = z.strictObject({
  name,
  tier: tier.optional(),
  models: models.optional(),
  tenant: tenant.optional(),
}) satisfies z.ZodType<CreateTeam>

export const updateTeam = z.strictObject({
  name: name.optional(),
  tier: tier.nullable().optional(),
  models: models.nullable().optional(),
  disabled: z.boolean().optional(),
}) satisfies z.ZodType<UpdateTeam>

export const createRole = z.strictObject({
  id,
  scopes,
  tenant: tenant.optional(),
}) satisfies z.ZodType<CreateRole>

export const updateRole = z.strictObject({ scopes }) satisfies z.ZodType<UpdateRole>

/** Of a request for one entity: which tenant's, if not the caller's own. */
export const addressRequest = z.strictObject({ tenant: tenant.optional() })

export const listRequest = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  cursor: z.string().min(1).max(256).optional(),
  tenant: tenant.optional(),
})
