import { z } from 'zod'
import { isScope } from '../scopes.js'
import type { CreateApiKey, RotateApiKey, UpdateApiKey } from './identity.js'

const scopes = z.array(z.string().refine(isScope, 'must be one scope: visible ASCII without blanks, " and \\')).max(100)
const roles = z.array(z.string().min(1).max(128)).max(100)
const models = z.array(z.string().min(1).max(256)).max(100)
const addresses = z.array(z.string().min(1).max(64)).min(1).max(100)
const name = z.string().trim().min(1).max(256)
const tier = z.string().min(1).max(128)
const time = z.iso.datetime({ offset: true, error: 'must be a time as ISO 8601 with its zone: 2027-01-31T00:00:00Z' })

export const createApiKey = z.strictObject({
  name,
  owner: z
    .strictObject({ type: z.enum(['tenant', 'team', 'user']), id: z.string().min(1).max(512).optional() })
    .optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  models: models.optional(),
  tier: tier.optional(),
  allowed_addresses: addresses.optional(),
  expires_at: time.optional(),
  tenant: z.string().min(1).max(512).optional(),
}) satisfies z.ZodType<CreateApiKey>

export const updateApiKey = z.strictObject({
  name: name.optional(),
  scopes: scopes.optional(),
  roles: roles.optional(),
  models: models.nullable().optional(),
  tier: tier.nullable().optional(),
  allowed_addresses: addresses.nullable().optional(),
  expires_at: time.nullable().optional(),
}) satisfies z.ZodType<UpdateApiKey>

export const rotateApiKey = z.strictObject({
  grace_seconds: z.int().min(0).max(2_592_000).optional(),
}) satisfies z.ZodType<RotateApiKey>

export const listRequest = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  cursor: z.string().min(1).max(256).optional(),
  tenant: z.string().min(1).max(512).optional(),
})
