/** Never written to the audit log: that they changed is all that is told. */
const secretFields: ReadonlySet<string> = new Set(['secrets', 'passwordHash'])
/** Not what anyone decided. */
const silentFields: ReadonlySet<string> = new Set(['createdAt', 'updatedAt', 'lastUsedAt', 'id', 'tenant'])

/** The fields that differ, with their new values, `null` for one that is gone; secrets and hashes as `null` always. */
export function changedFields(before: object | undefined, after: object): Record<string, unknown> {
  const earlier = new Map(Object.entries(before ?? {}))
  const later = new Map(Object.entries(after))
  const fields: Record<string, unknown> = {}
  for (const name of new Set([...earlier.keys(), ...later.keys()])) {
    if (silentFields.has(name) || JSON.stringify(earlier.get(name)) === JSON.stringify(later.get(name))) continue
    fields[name] = secretFields.has(name) ? null : (later.get(name) ?? null)
  }
  return fields
}
