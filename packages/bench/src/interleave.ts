/** One slice of a subject, and the neighbour's slices just before and just after it. */
export interface Between<Slice> {
  readonly own: Slice
  readonly before: Slice
  readonly after: Slice
}

/** What is measured in turns. */
export interface Turns<Subject, Slice> {
  readonly subjects: readonly Subject[]
  /** How often each subject's turn comes. */
  readonly slices: number
  /** Measures what every slice is compared with. */
  readonly neighbour: () => Promise<Slice>
  readonly own: (subject: Subject) => Promise<Slice>
}

/** A B A C A …: each subject's slices stand between two of the neighbour's, so that a machine that changes its pace changes both. */
export async function interleave<Subject, Slice>({
  subjects,
  slices,
  neighbour,
  own,
}: Turns<Subject, Slice>): Promise<ReadonlyMap<Subject, ReadonlyArray<Between<Slice>>>> {
  const seen = new Map<Subject, Array<Between<Slice>>>(subjects.map((subject) => [subject, []]))
  let before = await neighbour()
  for (let index = 0; index < slices; index += 1) {
    for (const [subject, betweens] of seen) {
      const slice = await own(subject)
      const after = await neighbour()
      betweens.push({ own: slice, before, after })
      before = after
    }
  }
  return seen
}
