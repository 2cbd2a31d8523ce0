import type { Task, Tasks } from '../inference/task.js'

/** Is this a form that goes by while it arrives? Nothing of it is kept: it cannot be sent to two models. */
export function passesOnce(input: Tasks[Task]['input']): boolean {
  return 'body' in input && 'form' in input.body
}
