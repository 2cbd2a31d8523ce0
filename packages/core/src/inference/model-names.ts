import { configInvalid } from '../errors.js'

/** What a caller's name means. */
export interface ModelName {
  readonly id: string
  /** `undefined`: the newest. */
  readonly version: string | undefined
}

/** Names with their aliases. */
export interface ModelNames {
  /** Alias → what it stands for at last, which may carry a version. */
  readonly aliases: ReadonlyMap<string, string>
  resolve(name: string): ModelName
}

/**
 * Reads names: `iris`, `iris@latest`, `iris@2`, and aliases of such.
 *
 * @throws TollgateError `config_invalid` for aliases that lead in a circle
 */
export function modelNames(given: Readonly<Record<string, string>>): ModelNames {
  const aliases = flattened(given)
  return {
    aliases,
    resolve(name) {
      const parsed = parseName(aliases.get(name) ?? name)
      const base = aliases.get(parsed.id)
      if (base === undefined) return parsed
      const target = parseName(base)
      // `fast@2` is version 2 of what `fast` stands for, unless `fast` stands for one version already.
      return target.version === undefined
        ? { id: target.id, version: parsed.version }
        : parsed.version === undefined
          ? target
          : parsed
    },
  }
}

/** The last `@` parts name and version. One at the beginning belongs to the name (`@cf/meta/llama`). */
export function parseName(name: string): ModelName {
  const at = name.lastIndexOf('@')
  if (at <= 0 || at === name.length - 1) return { id: name, version: undefined }
  const version = name.slice(at + 1)
  return { id: name.slice(0, at), version: version === 'latest' ? undefined : version }
}

function flattened(given: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  const direct = new Map(Object.entries(given))
  const flat = new Map<string, string>()
  for (const [alias, first] of direct) {
    const seen = [alias]
    let target = first
    for (let next: string | undefined = target; next !== undefined; next = direct.get(target)) {
      if (seen.includes(next)) {
        throw configInvalid(`inferenceService: aliases lead in a circle: ${[...seen, next].join(' → ')}.`)
      }
      seen.push(next)
      target = next
    }
    flat.set(alias, target)
  }
  return flat
}
