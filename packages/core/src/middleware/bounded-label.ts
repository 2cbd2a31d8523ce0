/** The label of all that there was no room for. */
const otherLabel = '_other'

/** Lets the first `max` values through, without line breaks; the rest become `_other`. */
export function boundedLabel(max: number): (value: string) => string {
  const known = new Map<string, string>()
  return (value) => {
    const label = known.get(value)
    if (label !== undefined) return label
    if (known.size >= max) return otherLabel
    const made = value.replace(/\s/g, '_')
    known.set(value, made)
    return made
  }
}
