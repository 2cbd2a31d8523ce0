import type { Target } from './target.js'

/**
 * Is the model in each of the lists? An entry is the name of a model (`gpt-4o`), with its provider before it (`openai/gpt-4o`) or its version after it
 * (`iris@2`); `*` stands for any text (`openai/*`). Case matters. No lists, no limits; an empty list allows nothing.
 */
export function mayUseModel(lists: ReadonlyArray<readonly string[]> | undefined, target: Target): boolean {
  if (lists === undefined) return true
  const { model, provider, version } = target
  const names = [model, `${provider}/${model}`]
  if (version !== undefined) names.push(`${model}@${version}`, `${provider}/${model}@${version}`)
  return lists.every((list) => list.some((entry) => names.some((name) => matches(entry, name))))
}

/**
 * Does the one list give all that the other gives? By its text: an entry of `narrower` must fit an entry of `wider`, its stars as any text. `gpt-*` gives what `gpt-4*` gives;
 * `openai/gpt-4o` does not give `gpt-4o`, which may be another provider's.
 */
export function coversModels(wider: readonly string[], narrower: readonly string[]): boolean {
  return narrower.every((entry) => wider.some((pattern) => matches(pattern, entry)))
}

/** Linear in both texts: what lies between stars is looked for from left to right, which is right for stars alone. */
function matches(pattern: string, name: string): boolean {
  if (pattern === name || pattern === '*') return true
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return false
  if (!name.startsWith(first)) return false
  let at = first.length
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return name.length - last.length >= at && name.endsWith(last)
}
