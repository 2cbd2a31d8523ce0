/** An example for each section of the page of a gateway's configuration, by its path. */
export const gatewayExamples: Readonly<Record<string, string>> = {
  '': `
providers:
  openai: { type: openai }
models:
  fast: openai/gpt-4o-mini
defaultModels: { generate: fast }
timeoutMs: 120000
`,
  'providers.{name}': `
providers:
  openai:
    type: openai
    apiKey: { env: OPENAI_API_KEY }
    models: [gpt-*, text-embedding-*]
  local:
    type: vllm
    baseUrl: http://10.0.0.7:8000/v1
    models: { llama: meta-llama/Llama-3.3-70B-Instruct }
    retry: false
`,
  'providers.{name}.apiKey': `
providers:
  claude:
    type: anthropic
    apiKey: [{ env: ANTHROPIC_KEY_1 }, { env: ANTHROPIC_KEY_2 }]
`,
  'providers.{name}.patchBody[]': `
providers:
  openai:
    type: openai
    patchBody:
      - { pointer: /service_tier, value: flex }
      - { pointer: /user }
`,
  'providers.{name}.credentials': `
providers:
  aws:
    type: bedrock
    region: eu-central-1
    credentials:
      accessKeyId: { env: BEDROCK_KEY_ID }
      secretAccessKey: { env: BEDROCK_KEY_SECRET }
`,
  'providers.{name}.guards[]': `
providers:
  claude:
    type: anthropic
    guards:
      - { type: redact, kinds: [us_ssn, credit_card], patterns: { ticket: 'TCK-\\d{8}' } }
`,
  'providers.{name}.timeouts': `
providers:
  claude:
    type: anthropic
    timeouts: { firstOutputMs: 20000, idleMs: 60000 }
`,
  'providers.{name}.retry': `
providers:
  openai:
    type: openai
    retry: { maxAttempts: 2, maxRetryAfterMs: 5000 }
`,
  'providers.{name}.breaker': `
providers:
  openai:
    type: openai
    breaker: { failureRate: 0.3, minimumCalls: 20, openMs: 10000 }
`,
  'providers.{name}.bulkhead': `
providers:
  local:
    type: vllm
    bulkhead: { maxConcurrent: 16, maxQueued: 50, maxWaitMs: 5000 }
`,
  'models.{name}': `
providers:
  openai: { type: openai }
  claude: { type: anthropic }
models:
  smart:
    targets: [claude/claude-sonnet-4-5, openai/gpt-4o]
    fallbackOn: [sick, throttled, context]
    description: The best there is.
`,
  'models.{name}.targets[]': `
providers:
  openai: { type: openai }
  local: { type: vllm }
models:
  chat:
    strategy: weighted
    affinity: principal
    targets:
      - { model: local/llama-3, weight: 1, tiers: [free] }
      - { model: openai/gpt-4o-mini, weight: 9 }
`,
  'models.{name}.hedge': `
providers:
  openai: { type: openai }
  claude: { type: anthropic }
models:
  quick:
    targets: [claude/claude-sonnet-4-5]
    hedge: { afterMs: 2000, after: p95, target: openai/gpt-4o }
`,
  'models.{name}.shadow': `
providers:
  openai: { type: openai }
  local: { type: vllm }
models:
  chat:
    targets: [openai/gpt-4o]
    shadow: { to: local/llama-3, share: 0.05 }
`,
  defaultModels: `
providers:
  openai: { type: openai }
defaultModels: { generate: openai/gpt-4o-mini, embed: openai/text-embedding-3-small }
`,
}
