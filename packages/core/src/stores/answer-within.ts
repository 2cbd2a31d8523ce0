/** The promise, or an error once `timeoutMs` have passed: a store that never answers is a store that is down. */
export function answerWithin<Value>(promise: PromiseLike<Value>, timeoutMs: number): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`The store did not answer in ${timeoutMs} ms.`)), timeoutMs)
    timer.unref()
    promise.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error)
      },
    )
  })
}
