/** Works through a queue that may grow meanwhile, at most so many at a time; the first throw ends it. */
export function drainQueue<Task>(
  queue: Task[],
  concurrency: number,
  work: (task: Task) => Promise<Task[]>,
  mayStart: () => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let running = 0
    let failed = false
    const start = () => {
      while (!failed && running < concurrency && mayStart()) {
        const task = queue.shift()
        if (task === undefined) break
        running += 1
        work(task).then(
          (again) => {
            running -= 1
            // First, so that a chunk's rest is not left to the very end.
            queue.unshift(...again)
            start()
          },
          (error: unknown) => {
            failed = true
            reject(error)
          },
        )
      }
      if (running === 0) resolve()
    }
    start()
  })
}
