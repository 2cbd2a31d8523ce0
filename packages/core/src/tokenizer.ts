/** Counts the tokens of a text. The name goes into logs, so that an estimate says what made it. */
export interface Tokenizer {
  readonly name: string
  count(text: string): number
}
