import type { OpenAiCompatibleOptions } from './openai-compatible.js'

/** What is known of an upstream that speaks OpenAI's API. */
export type OpenAiPreset = Partial<
  Pick<
    OpenAiCompatibleOptions,
    'baseUrl' | 'keyField' | 'maxTokensField' | 'asksForUsage' | 'hasResponses' | 'listModels'
  >
> & {
  /** The environment variable that its key is customarily in. Absent: it wants none. */
  readonly keyVariable?: string
}

/**
 * Upstreams that speak OpenAI's API, as data: `openAiCompatible({ name: 'groq', ...openAiPresets.groq, apiKey })`. One that is not here is a base URL.
 *
 * `azure` and `bedrock-openai` (Bedrock's own API is `bedrockProvider`) have an address for each customer: `https://{resource}.openai.azure.com/openai/v1`, `https://bedrock-runtime.{region}.amazonaws.com/openai/v1`.
 */
export const openAiPresets = {
  openai: {
    baseUrl: 'https://api.openai.com/v1',
    keyVariable: 'OPENAI_API_KEY',
    maxTokensField: 'max_completion_tokens',
    hasResponses: true,
  },
  azure: {
    keyVariable: 'AZURE_OPENAI_API_KEY',
    keyField: 'api-key',
    maxTokensField: 'max_completion_tokens',
    hasResponses: true,
  },
  'bedrock-openai': { keyVariable: 'AWS_BEARER_TOKEN_BEDROCK' },
  // It tells the usage unasked, and refuses fields that it does not know.
  mistral: { baseUrl: 'https://api.mistral.ai/v1', keyVariable: 'MISTRAL_API_KEY', asksForUsage: false },
  groq: { baseUrl: 'https://api.groq.com/openai/v1', keyVariable: 'GROQ_API_KEY' },
  deepseek: { baseUrl: 'https://api.deepseek.com/v1', keyVariable: 'DEEPSEEK_API_KEY' },
  together: { baseUrl: 'https://api.together.xyz/v1', keyVariable: 'TOGETHER_API_KEY' },
  fireworks: { baseUrl: 'https://api.fireworks.ai/inference/v1', keyVariable: 'FIREWORKS_API_KEY' },
  openrouter: { baseUrl: 'https://openrouter.ai/api/v1', keyVariable: 'OPENROUTER_API_KEY' },
  'x-ai': { baseUrl: 'https://api.x.ai/v1', keyVariable: 'XAI_API_KEY' },
  cerebras: { baseUrl: 'https://api.cerebras.ai/v1', keyVariable: 'CEREBRAS_API_KEY' },
  ollama: { baseUrl: 'http://127.0.0.1:11434/v1' },
  vllm: { baseUrl: 'http://127.0.0.1:8000/v1' },
  'lm-studio': { baseUrl: 'http://127.0.0.1:1234/v1' },
} as const satisfies Readonly<Record<string, OpenAiPreset>>
