/** No request has more: what is beyond is a mistake, and would be past what sums and prices can be reckoned with. */
export const mostTokens = 1_000_000_000

/** Is this a whole number from 0 on, as an upstream's count has to be to be believed? */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= mostTokens
}

/** A part of a total, at most all of it; 0 for what is no count. */
export function part(value: unknown, most: number): number {
  return isCount(value) ? Math.min(value, most) : 0
}
