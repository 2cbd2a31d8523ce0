import { describe, expect, it, vi } from 'vitest'
import { hashQueue } from './hash-queue.js'

const never = new AbortController().signal

/** A task that ends when it is told to. */
function task() {
  let resolve: (result: string) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<string>((onResult, onError) => {
    resolve = onResult
    reject = onError
  })
  return { run: vi.fn(() => promise), resolve, reject }
}

describe('hashQueue', () => {
  it('runs so many at once, the rest in their order, and refuses beyond', async () => {
    const queue = hashQueue({ maxConcurrent: 1, maxQueued: 2 })
    const [first, second, third] = [task(), task(), task()]
    const results = [first, second, third].map((each) => queue.run(each.run, never))
    expect(queue.run(task().run, never)).toBeUndefined()
    expect([first, second, third].map((each) => each.run.mock.calls.length)).toEqual([1, 0, 0])
    first.resolve('first')
    expect(await results[0]).toBe('first')
    expect([second, third].map((each) => each.run.mock.calls.length)).toEqual([1, 0])
    second.resolve('second')
    third.resolve('third')
    expect(await Promise.all(results)).toEqual(['first', 'second', 'third'])
  })

  it('goes on after a task that fails', async () => {
    const queue = hashQueue({ maxConcurrent: 1, maxQueued: 1 })
    const [first, second] = [task(), task()]
    const failing = queue.run(first.run, never)
    const waiting = queue.run(second.run, never)
    first.reject(new Error('no'))
    second.resolve('yes')
    await expect(failing).rejects.toThrow('no')
    expect(await waiting).toBe('yes')
  })

  it('never begins a task whose caller left, and gives its place to the next', async () => {
    const queue = hashQueue({ maxConcurrent: 1, maxQueued: 1 })
    const [first, left, next] = [task(), task(), task()]
    const running = queue.run(first.run, never)
    const leaving = new AbortController()
    const waiting = queue.run(left.run, leaving.signal)
    expect(queue.run(next.run, never)).toBeUndefined()
    leaving.abort(new Error('left'))
    await expect(waiting).rejects.toThrow('left')
    const after = queue.run(next.run, never)
    first.resolve('first')
    next.resolve('next')
    expect(await running).toBe('first')
    expect(await after).toBe('next')
    expect(left.run).not.toHaveBeenCalled()
  })

  it('does not queue for a caller that has left already', async () => {
    const queue = hashQueue({ maxConcurrent: 1, maxQueued: 1 })
    const first = task()
    const running = queue.run(first.run, never)
    const gone = task()
    await expect(queue.run(gone.run, AbortSignal.abort(new Error('left')))).rejects.toThrow('left')
    first.resolve('first')
    expect(await running).toBe('first')
    expect(gone.run).not.toHaveBeenCalled()
  })
})
