/** The scopes that the gate's own routes ask for. Yours may be any other token of RFC 6749, 3.3. */
export const gateScopes = [
  'predict',
  'batch',
  'chat',
  'embed',
  'usage:read',
  /** Asking whether a token is good (RFC 7662). */
  'introspect',
  /** Keys, users, teams, roles and the audit log of the caller's own tenant. */
  'admin',
  /** The same of every tenant, and the tenants themselves. */
  'admin:all',
] as const

/** Roles that are there without being made. A role of a tenant's own with the same name takes its place. */
export const builtInRoles: Readonly<Record<string, readonly string[]>> = Object.freeze({
  member: Object.freeze(['predict', 'batch', 'chat', 'embed']),
  viewer: Object.freeze(['usage:read']),
  admin: Object.freeze(['predict', 'batch', 'chat', 'embed', 'usage:read', 'admin']),
})

const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/

/** A scope as RFC 6749, 3.3 has it: visible ASCII without `"` and `\`; here 128 characters at most. */
export function isScope(value: unknown): value is string {
  return typeof value === 'string' && scopeToken.test(value)
}

/** Does one of `granted` give `wanted`? The same text does, `*` gives everything, `usage:*` everything that begins with `usage:`. */
export function coversScope(granted: readonly string[], wanted: string): boolean {
  for (const scope of granted) {
    if (scope === wanted || scope === '*') return true
    if (scope.endsWith(':*') && wanted.startsWith(scope.slice(0, -1))) return true
  }
  return false
}

/** Those of `wanted` that `granted` does not give, in their order. */
export function missingScopes(granted: readonly string[], wanted: readonly string[]): string[] {
  return wanted.filter((scope) => !coversScope(granted, scope))
}

/** What both lists give. A wildcard on one side becomes what the other side has of it. */
export function commonScopes(one: readonly string[], other: readonly string[]): string[] {
  const common = new Set<string>()
  for (const scope of one) if (coversScope(other, scope)) common.add(scope)
  for (const scope of other) if (coversScope(one, scope)) common.add(scope)
  return [...common]
}
