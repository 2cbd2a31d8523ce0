/** So much of what was written is kept; of the rest only its length. */
const keptCharacters = 262_144

/** What a model has written in a stream so far, for counting: its beginning, and how long all of it is. */
export class WrittenText {
  text = ''
  length = 0

  add(piece: string): void {
    this.length += piece.length
    if (this.text.length < keptCharacters) this.text += piece.slice(0, keptCharacters - this.text.length)
  }
}
