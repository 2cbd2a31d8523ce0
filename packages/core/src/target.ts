/** Which model a call is sent to, is priced as and is answered by. */
export interface Target {
  /** `''` where nobody said: a handler of your own that calls an SDK by hand. */
  readonly provider: string
  readonly model: string
  readonly version?: string
}
