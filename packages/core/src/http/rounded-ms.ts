/** Milliseconds for answers and log lines: to the microsecond, which is as far as the clock means anything. */
export function roundedMs(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000
}
