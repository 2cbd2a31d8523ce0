import { describe, expect, it } from 'vitest'
import { recordedCall } from '../../test/fake-model.js'
import { argumentsOf, joined, partsOf, scripted } from '../../test/scripted-model.js'
import type { GenerateInput, Part } from '../inference/task.js'
import { guarded } from './guarded.js'
import { redactPii } from './redact-pii.js'

describe('redactPii', () => {
  it('puts back what it took, in all that a model writes', async () => {
    const json = '{"to":"[EMAIL_1]","note":"[EMAIL_2] \\"x\\""}'
    const { model, asked } = scripted([
      { type: 'reasoning', text: 'For [EMA' },
      { type: 'reasoning', text: 'IL_1].', signature: 's' },
      ...[...'Sent to [EMAIL_1], not [EMAIL_9].'].map((text): Part<'generate'> => ({ type: 'text', text })),
      { type: 'tool-call', index: 0, id: 'x', name: 'mail', arguments: '' },
      ...[...json].map((each): Part<'generate'> => ({ type: 'tool-call', index: 0, arguments: each })),
    ])
    const input: GenerateInput = { messages: [{ role: 'user', content: 'a@example.com and "q"b@example.com' }] }
    const { parts } = await partsOf(
      guarded(model, { guards: [redactPii({ restore: true })] }),
      recordedCall().call,
      input,
    )
    expect(JSON.stringify(asked[0]?.messages)).not.toContain('example.com')
    expect(joined(parts, 'reasoning')).toBe('For a@example.com.')
    expect(joined(parts, 'text')).toBe('Sent to a@example.com, not [EMAIL_9].')
    expect(JSON.parse(argumentsOf(parts, 0))).toEqual({ to: 'a@example.com', note: 'b@example.com "x"' })
  })

  it('stays with itself when two stand in a row', async () => {
    const { model, asked } = scripted([], { text: '[WORD_1] [LITERAL_1]' })
    const guards = [
      redactPii({ restore: true }),
      redactPii({ name: 'other', restore: true, patterns: { word: /hush/ } }),
    ]
    const input: GenerateInput = { messages: [{ role: 'user', content: 'a@example.com hush' }] }
    const { output } = await guarded(model, { guards }).run(input, recordedCall().call)
    expect(asked[0]?.messages[0]?.content).toBe('[LITERAL_1] [WORD_1]')
    expect(output.text).toBe('hush a@example.com')
  })

  it.each([[{ kinds: ['mail'] }], [{ patterns: { 'a b': /x/ } }], [{ patterns: { a: 'x' } }], [{ restored: true }]])(
    'refuses %j',
    (options) => expect(() => redactPii(options as never)).toThrow(/redactPii/),
  )
})
