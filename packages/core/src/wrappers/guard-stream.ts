import { TollgateError } from '../errors.js'
import type { Call } from '../inference/model.js'
import type { GenerateOutput, Part } from '../inference/task.js'
import { type AnswerPlace, ask, type Edit, type Guard, type OutputGuard } from './guard.js'

/** A guard that looks at this answer. */
export interface AnswerCheck {
  readonly guard: Guard
  readonly output: OutputGuard
  readonly call: Call
}

type Channel = AnswerPlace['channel']

/** One text of an answer, as it comes: gives back what may go out. */
interface Held {
  push(piece: string): Promise<string>
  /** The rest. */
  end(): Promise<string>
}

function held({ guard, output, call }: AnswerCheck, channel: Channel): Held {
  const { window, step = 1 } = output
  let text = ''
  let before = ''

  const release = async (final: boolean): Promise<string> => {
    const whole = text
    /** What begins from here on may go on in what is still to come. */
    const cut = final ? whole.length : whole.length - window
    const edits = await ask(
      guard,
      'answer',
      call,
      () => output.check(whole, { channel, before, final, call }),
      (given: readonly Edit[]) => settled(given, whole, final ? Number.POSITIVE_INFINITY : cut),
    )
    let out = ''
    let at = 0
    for (const edit of edits ?? []) {
      out += whole.slice(at, edit.start) + (channel === 'arguments' ? escaped(edit.text) : edit.text)
      at = edit.end
    }
    const to = Math.max(at, isWithinPair(whole, cut) ? cut - 1 : cut)
    out += whole.slice(at, to)
    before = (before + whole.slice(0, to)).slice(-window)
    text = whole.slice(to)
    return out
  }
  return {
    push(piece) {
      text += piece
      return text.length < window + step ? Promise.resolve('') : release(false)
    },
    end: () => (text === '' ? Promise.resolve('') : release(true)),
  }
}

/** The edits that begin before `until`. @throws RangeError for edits that are none of this text */
function settled(edits: readonly Edit[], text: string, until: number): readonly Edit[] {
  let at = 0
  for (const { start, end } of edits) {
    if (!(start >= at && end >= start && end <= text.length))
      throw new RangeError('An edit is out of its order or place.')
    at = end
  }
  return edits.filter(({ start }) => start < until)
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

/** Between the two halves of a character: neither is one by itself. */
function isWithinPair(text: string, at: number): boolean {
  const code = text.charCodeAt(at - 1)
  return at < text.length && code >= 0xd800 && code <= 0xdbff
}

/** A whole text, changed as the guard says. */
async function checked(check: AnswerCheck, channel: Channel, text: string): Promise<string> {
  const whole = held(check, channel)
  return (await whole.push(text)) + (await whole.end())
}

/** A whole answer, as a guard lets it through. */
export async function checkedOutput(check: AnswerCheck, output: GenerateOutput): Promise<GenerateOutput> {
  const { native: _, reasoning, ...typed } = output
  const thoughts: GenerateOutput['reasoning'] & object[] = []
  for (const part of reasoning ?? []) thoughts.push({ ...part, text: await checked(check, 'reasoning', part.text) })
  const text = await checked(check, 'text', typed.text)
  const toolCalls: Array<GenerateOutput['toolCalls'][number]> = []
  for (const call of typed.toolCalls) {
    toolCalls.push({
      ...call,
      name: await checked(check, 'name', call.name),
      arguments: await checked(check, 'arguments', call.arguments),
    })
  }
  return { ...typed, ...(reasoning === undefined ? undefined : { reasoning: thoughts }), text, toolCalls }
}

/**
 * The parts of an answer, as a guard lets them through: nothing goes out before it was read, with at least `window` characters behind it or its end. A thought or a text ends where another kind of part
 * comes; calls of tools may be written beside each other, and end with the answer.
 */
export async function* checkedParts(
  parts: AsyncIterable<Part<'generate'>>,
  check: AnswerCheck,
): AsyncGenerator<Part<'generate'>> {
  let open: { readonly type: 'text' | 'reasoning'; readonly held: Held } | undefined
  const calls = new Map<number, Held>()

  const close = async (): Promise<Part<'generate'>[]> => {
    const ended = open
    open = undefined
    const text = (await ended?.held.end()) ?? ''
    return ended === undefined || text === '' ? [] : [{ type: ended.type, text }]
  }

  for await (const part of parts) {
    switch (part.type) {
      case 'text':
      case 'reasoning': {
        if (open?.type !== part.type) yield* await close()
        open ??= { type: part.type, held: held(check, part.type) }
        const text = await open.held.push(part.text)
        if (text !== '') yield { type: part.type, text }
        // What proves a thought, or one that is redacted, ends it.
        if (part.type === 'reasoning' && (part.signature ?? part.redacted) !== undefined) {
          yield* await close()
          yield { ...part, text: '' }
        }
        break
      }
      case 'tool-call': {
        yield* await close()
        const { index, name } = part
        const isNew = !calls.has(index)
        const call = calls.get(index) ?? held(check, 'arguments')
        calls.set(index, call)
        const json = await call.push(part.arguments)
        if (!isNew && json === '' && name === undefined) break
        yield { ...part, ...(name === undefined ? {} : { name: await checked(check, 'name', name) }), arguments: json }
        break
      }
      case 'end':
        yield* await close()
        for (const [index, call] of calls) {
          const json = await call.end()
          if (json !== '') yield { type: 'tool-call', index, arguments: json }
        }
        yield part
        break
      default:
        throw new TollgateError('internal', `The guard ${check.guard.name} cannot read what the model sends as bytes.`)
    }
  }
}
