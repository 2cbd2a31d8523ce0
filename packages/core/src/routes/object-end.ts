/** Watches the text of a JSON object arrive, each character once. */
export interface ObjectEnd {
  push(piece: string): void
  /** Its last brace has come: nothing more can. */
  isWhole(): boolean
}

/** For text that is taken for JSON; what is none is whole where its braces close. */
export function objectEnd(): ObjectEnd {
  let depth = 0
  let inText = false
  let isEscaped = false
  let whole = false
  return {
    push(piece) {
      for (const character of piece) {
        if (isEscaped) isEscaped = false
        else if (inText) {
          if (character === '\\') isEscaped = true
          else if (character === '"') inText = false
        } else if (character === '"') inText = true
        else if (character === '{' || character === '[') depth += 1
        else if (character === '}' || character === ']') {
          depth -= 1
          whole ||= depth === 0 && character === '}'
        }
      }
    },
    isWhole: () => whole,
  }
}
