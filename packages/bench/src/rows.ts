import { type LatencyRow, type Row, type Spread, spread } from './report.ts'
import { middle, type Reading } from './round.ts'
import { assembled, base, portkey, type Subject } from './subjects.ts'

/** What the subjects came to, out of all rounds. */
export function rows(rounds: ReadonlyArray<readonly Reading[]>, subjects: readonly Subject[]): readonly Row[] {
  const times = (subject: Subject, peer: Subject) =>
    beside(rounds, subject, peer, (own, other) => own.perCore / other.perCore)
  return [base, ...subjects].map((subject) => {
    const own = readingsOf(rounds, subject)
    const { busy, p50Ms, p99Ms, rssBytes } = middle(own.map(({ measurement }) => measurement))
    return {
      name: subject.name,
      cpuMicros: spread(own.map(({ measurement }) => measurement.cpuMicros)),
      perCore: spread(own.map(({ perCore }) => perCore)),
      timesAssembled: times(subject, assembled),
      timesPortkey: times(subject, portkey),
      busy,
      p50Ms,
      p99Ms,
      rssMegabytes: rssBytes / 1_048_576,
    }
  })
}

/** What the subjects' callers waited, out of all rounds. */
export function latencyRows(
  rounds: ReadonlyArray<readonly Reading[]>,
  subjects: readonly Subject[],
): readonly LatencyRow[] {
  const overBase = (subject: Subject, read: (reading: Reading) => number) =>
    spread(rounds.flatMap((readings) => pair(readings, subject, base).map(([own, other]) => read(own) - read(other))))
  return [base, ...subjects].map((subject) => {
    const own = readingsOf(rounds, subject)
    return {
      name: subject.name,
      addedP50Ms: spread(own.map(({ added }) => added.p50Ms)),
      addedP99Ms: spread(own.map(({ added }) => added.p99Ms)),
      timesPortkey: beside(rounds, subject, portkey, (one, other) => one.added.p50Ms / other.added.p50Ms),
      overBaseP50Ms: overBase(subject, ({ added }) => added.p50Ms),
      overBaseP99Ms: overBase(subject, ({ added }) => added.p99Ms),
    }
  })
}

/** What callers of the upstream itself waited. */
export function directLine(rounds: ReadonlyArray<readonly Reading[]>): string {
  const of = (read: (reading: Reading) => number) => spread(rounds.flat().map(read)).median.toFixed(1)
  return `of the upstream itself p50 ${of(({ direct }) => direct.p50Ms)} ms, p99 ${of(({ direct }) => direct.p99Ms)} ms`
}

function readingsOf(rounds: ReadonlyArray<readonly Reading[]>, subject: Subject): readonly Reading[] {
  return rounds.flatMap((readings) => readings.filter((reading) => reading.subject === subject))
}

/** A subject against a peer of the same round; nothing if the peer was not measured. */
function beside(
  rounds: ReadonlyArray<readonly Reading[]>,
  subject: Subject,
  peer: Subject,
  compare: (own: Reading, other: Reading) => number,
): Spread | undefined {
  const all = rounds.flatMap((readings) => pair(readings, subject, peer).map(([own, other]) => compare(own, other)))
  return all.length === 0 ? undefined : spread(all)
}

function pair(
  readings: readonly Reading[],
  subject: Subject,
  peer: Subject,
): ReadonlyArray<readonly [Reading, Reading]> {
  const own = readings.find((reading) => reading.subject === subject)
  const other = readings.find((reading) => reading.subject === peer)
  return own === undefined || other === undefined ? [] : [[own, other]]
}
