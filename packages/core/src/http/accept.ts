/**
 * The media type, among those on offer, that an `Accept` header likes best: by its q-value, then by the order of the offer (RFC 9110, 12.5.1).
 * Without a header, or where nothing on offer is liked, the first.
 *
 * @param offered type and subtype in lower case, without parameters
 * @example preferredType('application/json;q=0.5, text/plain', ['text/plain', 'application/json']) // 'text/plain'
 */
export function preferredType<const Type extends string>(
  accept: string | undefined,
  offered: readonly [Type, ...Type[]],
): Type {
  let best = offered[0]
  if (accept === undefined || accept.trim() === '') return best
  const ranges = accept.slice(0, maxLength).split(',').map(readRange)
  let bestQuality = 0
  for (const type of offered) {
    const quality = qualityOf(type, ranges)
    if (quality > bestQuality) {
      best = type
      bestQuality = quality
    }
  }
  return best
}

const maxLength = 4_096

interface Range {
  readonly type: string
  readonly quality: number
}

function readRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
  const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2)
  const quality = weight === undefined ? 1 : Number(weight)
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 }
}

// The most specific range decides: `text/plain;q=0, */*` refuses text/plain. Of several as specific (Prometheus names a type once per version), the best.
function qualityOf(type: string, ranges: readonly Range[]): number {
  for (const range of [type, `${type.slice(0, type.indexOf('/'))}/*`, '*/*']) {
    const qualities = ranges.filter((each) => each.type === range).map(({ quality }) => quality)
    if (qualities.length > 0) return Math.max(...qualities)
  }
  return 0
}
