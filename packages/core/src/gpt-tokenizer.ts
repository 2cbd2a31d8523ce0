import { createRequire } from 'node:module'
import { z } from 'zod'
import { bytePairs, type TokenBytes } from './byte-pairs.js'
import { configInvalid } from './errors.js'
import { checkedOptions } from './options.js'
import type { Tokenizer } from './tokenizer.js'

/** OpenAI's vocabularies: `o200k_base` of GPT-4o and later, `cl100k_base` of GPT-4 and GPT-3.5. */
export type GptEncoding = 'o200k_base' | 'cl100k_base'

const gptEncoding = z.enum(['o200k_base', 'cl100k_base'], { error: "'o200k_base' or 'cl100k_base'" })

const require = createRequire(import.meta.url)
const loaded = new Map<GptEncoding, (text: string) => number>()

/**
 * Counts tokens as OpenAI's models do, with the vocabularies of the package `gpt-tokenizer` (an optional peer: install it). Exact for any
 * text: what looks like a special token (`<|endoftext|>`) is the text it is, as OpenAI's API takes it too. The time grows with the text's
 * length alone, whatever is in it.
 *
 * The vocabulary (about 65 MB in memory, shared in the process) is loaded by the first count, which takes a few hundred milliseconds: `count('x')` once
 * when the server starts keeps that from the first request.
 *
 * @throws TollgateError `config_invalid` for an unknown encoding, or if `gpt-tokenizer` is not installed
 * @example const tokenizer = gptTokenizer(); tokenizer.count('Hello, world') // 3
 */
export function gptTokenizer(encoding: GptEncoding = 'o200k_base'): Tokenizer {
  const name = checkedOptions('gptTokenizer', gptEncoding, encoding)
  const path = resolved(`gpt-tokenizer/bpeRanks/${name}`)
  let count = loaded.get(name)
  return {
    name,
    count(text) {
      if (text === '') return 0
      count ??= load(name, path)
      return count(text)
    },
  }
}

function resolved(specifier: string): string {
  try {
    return require.resolve(specifier)
  } catch (cause) {
    throw configInvalid(
      `gptTokenizer: the package gpt-tokenizer is not installed, or not version 4: add "gpt-tokenizer": "^4.0.0" to your dependencies (${(cause as { code?: string }).code ?? 'not found'}).`,
    )
  }
}

function load(encoding: GptEncoding, path: string): (text: string) => number {
  const known = loaded.get(encoding)
  if (known !== undefined) return known
  const { default: tokens } = require(path) as { default: ReadonlyArray<string | TokenBytes> }
  const params = require('gpt-tokenizer/modelParams') as typeof import('gpt-tokenizer/modelParams')
  const { tokenSplitRegex } = params.getEncodingParams(encoding, () => [])
  const count = bytePairs(tokens, tokenSplitRegex)
  loaded.set(encoding, count)
  return count
}
