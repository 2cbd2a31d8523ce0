import { TollgateError } from '../errors.js'
import type { EmbedInput } from '../inference/task.js'

/** The inputs, for models that read texts alone. @throws TollgateError `invalid_request` for tokens */
export function textInputs({ inputs }: EmbedInput): readonly string[] {
  return inputs.map((input, index) => {
    if (typeof input === 'string') return input
    const errors = [{ path: `input[${index}]`, message: 'must be a text for the model that answers' }]
    throw new TollgateError('invalid_request', 'The model that answers takes texts, not tokens.', { errors })
  })
}
