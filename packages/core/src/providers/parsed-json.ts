/** `undefined` for what is no JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An object, or an array; `undefined` for anything else. */
export function parsedObject(text: string): object | undefined {
  const json = parsedJson(text)
  return typeof json === 'object' && json !== null ? json : undefined
}
