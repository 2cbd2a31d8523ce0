import { z } from 'zod'
import { functionOption } from '../options.js'
import type { AwsCredentials } from '../providers/aws-credentials.js'
import { bodyPatch } from '../providers/json-patch.js'
import { openAiPresets } from '../providers/openai-presets.js'
import { breakerSettings } from '../wrappers/breaker.js'
import { bulkheadSettings } from '../wrappers/bulkhead.js'
import { retrySettings } from '../wrappers/retry.js'
import { timeoutsSettings } from '../wrappers/timeouts.js'
import { guards } from './guard-config.js'

/** A secret, or where it is: it is best in no file that others read. */
const secret = z.union([
  z.string().min(1),
  z.strictObject({
    env: z
      .string()
      .regex(/^[A-Za-z_]\w*$/, 'must be the name of an environment variable')
      .describe(
        'The environment variable that holds it. One that is not set is refused when the configuration is read.',
      ),
  }),
])

const types = [
  'openai-compatible',
  'anthropic',
  'gemini',
  'bedrock',
  'echo',
  ...(Object.keys(openAiPresets) as Array<keyof typeof openAiPresets>),
] as const

/** Fields that mean nothing to other types: whoever writes one there has meant something else. */
const onlyFor: Readonly<Record<'region' | 'credentials' | 'baseModels' | 'defaultMaxTokens', readonly string[]>> = {
  region: ['bedrock'],
  credentials: ['bedrock'],
  baseModels: ['bedrock'],
  defaultMaxTokens: ['anthropic'],
}
const notForEcho = ['baseUrl', 'apiKey', 'headers', 'patchBody'] as const

/** What the reference says of a field; `x-provider-types`: those that it means something to. */
function about(field: keyof typeof onlyFor | (typeof notForEcho)[number], description: string) {
  const meant = field in onlyFor ? onlyFor[field as keyof typeof onlyFor] : types.filter((type) => type !== 'echo')
  return { description, 'x-provider-types': [...meant] }
}

const resilience = {
  timeouts: timeoutsSettings
    .optional()
    .describe(
      'For each attempt. What is late is stopped and fails (`upstream_timeout`): it is tried again, or another target follows. One of them at least. Absent: the timeout of the whole call alone.',
    ),
  retry: z
    .union([z.literal(false), retrySettings])
    .prefault({})
    .describe('Tries a model again whose upstream is sick or throttles, before its first output; `false`: never.'),
  breaker: z
    .union([z.literal(false), breakerSettings])
    .prefault({})
    .describe(
      'Leaves a model alone for a while that fails too often, whose key is refused, or whose upstream throttles; `false`: never.',
    ),
  bulkhead: bulkheadSettings
    .optional()
    .describe('Calls of one model at once, and those that may wait. Absent: no bound but the connections.'),
}

export const provider = z
  .strictObject({
    type: z
      .enum(types)
      .describe(
        'Which API it speaks; all but `anthropic`, `gemini`, `bedrock` and `echo` are that of OpenAI, with what is known of the upstream by that name.',
      ),
    baseUrl: z
      .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
      .optional()
      .meta(
        about(
          'baseUrl',
          'Where its API is. Needed for `openai-compatible`, `azure` (`https://{resource}.openai.azure.com/openai/v1`) and `bedrock-openai` (`https://bedrock-runtime.{region}.amazonaws.com/openai/v1`); else that of its type.',
        ),
      ),
    apiKey: z
      .union([secret, z.array(secret).min(1)])
      .optional()
      .meta(
        about(
          'apiKey',
          'A key, or `{ env: NAME }`, best of both. Several share the calls: they go where the fewest are under way, and pass a key over that is refused, throttled or sick. Absent: what the customary variable holds (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, …).',
        ),
      ),
    headers: z.record(z.string(), z.string()).optional().meta(about('headers', 'Sent with every request.')),
    patchBody: z
      .array(bodyPatch)
      .optional()
      .meta(
        about(
          'patchBody',
          'Changes of every body in JSON, in their order: for what is needed here and known nowhere else.',
        ),
      ),
    models: z
      .union([z.array(z.string().min(1)), z.record(z.string().min(1), z.string().min(1))])
      .optional()
      .describe(
        'Names for callers, besides `{provider}/{model}` which there is always: a list, or public and own names. `*` stands for any text.',
      ),
    region: z
      .string()
      .min(1)
      .optional()
      .meta(about('region', 'Where its models are: `us-east-1`. Absent: `AWS_REGION`, then `AWS_DEFAULT_REGION`.')),
    credentials: z
      .union([
        z.strictObject({
          accessKeyId: secret.describe('The id of the access key, or `{ env: NAME }`.'),
          secretAccessKey: secret.describe('Its secret, or `{ env: NAME }`.'),
          sessionToken: secret.optional().describe('Of temporary credentials, or `{ env: NAME }`.'),
        }),
        functionOption<() => AwsCredentials | Promise<AwsCredentials>>(),
      ])
      .optional()
      .meta(
        about(
          'credentials',
          'What requests are signed with; in TypeScript also a function that gives them. Absent: what the customary variables hold. Not together with `apiKey`.',
        ),
      ),
    baseModels: z
      .record(z.string().min(1), z.string().min(1))
      .optional()
      .meta(about('baseModels', 'The models behind ARNs that do not name them, by the ARN.')),
    defaultMaxTokens: z
      .int()
      .min(1)
      .optional()
      .meta(
        about(
          'defaultMaxTokens',
          'Tokens to write at most for callers of another API who set no bound, which this one wants. Absent: 8,192.',
        ),
      ),
    guards: guards.describe(
      'Read what goes to its models, by whatever name they are called, and what comes from them; after those of the whole configuration.',
    ),
    ...resilience,
  })
  .superRefine((given, context) => {
    const wrong = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message })
    for (const [key, meant] of Object.entries(onlyFor)) {
      if (given[key as keyof typeof onlyFor] === undefined || meant.includes(given.type)) continue
      wrong(key, `is for ${meant.join(', ')}, not for ${given.type}`)
    }
    if (given.type !== 'echo') return
    for (const key of notForEcho) if (given[key] !== undefined) wrong(key, 'is not for echo, which asks nobody')
  })
