/** As much of JSON Schema as a gateway's configuration has. */
export interface JsonSchema {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly string[]
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: JsonSchema | false
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
  readonly not?: object
  readonly format?: string
  readonly pattern?: string
  readonly minimum?: number
  readonly exclusiveMinimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly minItems?: number
  readonly 'x-provider-types'?: readonly string[]
}

/** An object of the configuration: a section of its page. */
export interface Section {
  /** `providers.{name}.retry`; the configuration itself is ''. */
  readonly path: string
  readonly description: string
  readonly keys: Readonly<Record<string, JsonSchema>>
  readonly required: readonly string[]
}

/** All objects, each once: one that stands in several places is a section where it comes first. */
export function sectionsOf(schema: JsonSchema): { readonly sections: Section[]; pathOf(node: JsonSchema): string } {
  const sections: Section[] = []
  const known = new Map<string, string>()
  const visit = (path: string, node: JsonSchema, description: string): void => {
    const { properties, required = [], additionalProperties, items, anyOf = [] } = node
    if (properties !== undefined) {
      const same = JSON.stringify(properties)
      if (known.has(same)) return
      known.set(same, path)
      sections.push({ path, description, keys: properties, required })
      for (const [key, value] of Object.entries(properties)) {
        visit(path === '' ? key : `${path}.${key}`, value, value.description ?? '')
      }
    }
    if (typeof additionalProperties === 'object') visit(`${path}.{name}`, additionalProperties, description)
    if (items !== undefined) visit(`${path}[]`, items, description)
    for (const each of anyOf) visit(path, each, description)
  }
  visit('', schema, '')
  return { sections, pathOf: ({ properties }) => known.get(JSON.stringify(properties)) ?? '' }
}

/** The page: a table for each section, and an example. */
export function referencePage(schema: JsonSchema, examples: Readonly<Record<string, string>>): string {
  const { sections, pathOf } = sectionsOf(schema)
  const allTypes = sections.find(({ path }) => path === 'providers.{name}')?.keys['type']?.enum ?? []
  const page = [
    "# The gateway's configuration, key by key",
    'Made from the schema by `vitest run packages/core/test/gateway-schema.test.ts -u`. How to use it is in [the guide](../guides/gateway-configuration.md); for editors there is [`gateway.schema.json`](gateway.schema.json).',
    'A key that is not here is refused, and so is one that means nothing to the type of its provider. `{name}` is a name of yours, `[]` an entry of a list. What has no default, and does not say what holds without it, is just not there.',
  ]
  for (const section of sections) {
    const { path, description, keys, required } = section
    page.push(path === '' ? '## The configuration' : `## \`${path}\``)
    if (description !== '') page.push(description)
    const isForTypes = Object.values(keys).some((key) => key['x-provider-types'] !== undefined)
    const head = ['key', 'type', 'default', 'bounds', ...(isForTypes ? ['for'] : []), 'meaning']
    const rows = Object.entries(keys).map(([name, key]) => [
      `\`${name}\``,
      typeOf(key, pathOf),
      required.includes(name) ? 'needed' : key.default === undefined ? '' : code(JSON.stringify(key.default)),
      boundsOf(key),
      ...(isForTypes ? [forTypes(key, allTypes)] : []),
      key.description ?? '',
    ])
    const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map(cell).join(' | ')} |`)
    page.push(lines.join('\n'))
    page.push(`\`\`\`yaml\n${(examples[path] ?? '').trim()}\n\`\`\``)
  }
  return `${page.join('\n\n')}\n`
}

function typeOf(node: JsonSchema, pathOf: (node: JsonSchema) => string): string {
  const { type, properties, additionalProperties, items, anyOf, not } = node
  if (anyOf !== undefined) {
    const written = anyOf.filter((each) => each.not === undefined).map((each) => typeOf(each, pathOf))
    return [...new Set(written)].join(', or ')
  }
  if (not !== undefined) return 'function'
  if (node.const !== undefined) return code(JSON.stringify(node.const))
  if (node.enum !== undefined) return node.enum.map(code).join(', ')
  if (properties !== undefined)
    return `[object](#${pathOf(node)
      .toLowerCase()
      .replace(/[^a-z0-9-]/g, '')})`
  if (typeof additionalProperties === 'object') return `by name: ${typeOf(additionalProperties, pathOf)}`
  if (items !== undefined) return `list of: ${typeOf(items, pathOf)}`
  return { string: node.format === 'uri' ? 'URL' : 'text', integer: 'whole number' }[type ?? ''] ?? type ?? 'any'
}

function boundsOf(node: JsonSchema): string {
  const { minimum, exclusiveMinimum, maximum, minLength, maxLength, minItems, pattern } = node
  const least = exclusiveMinimum === undefined ? minimum : `above ${exclusiveMinimum}`
  const most = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum
  return [
    ...(least === undefined ? [] : [`${number(least)}${most === undefined ? ' or more' : ` to ${number(most)}`}`]),
    ...(minLength === undefined ? [] : ['not empty']),
    ...(maxLength === undefined ? [] : [`${number(maxLength)} characters at most`]),
    ...(minItems === undefined ? [] : [`${minItems} or more`]),
    ...(pattern === undefined ? [] : [code(pattern)]),
  ].join(', ')
}

function number(value: number | string): string {
  return value.toLocaleString('en-US')
}

function forTypes({ 'x-provider-types': types }: JsonSchema, all: readonly string[]): string {
  if (types === undefined) return 'all'
  const others = all.filter((type) => !types.includes(type))
  return others.length < types.length ? `all but ${others.map(code).join(', ')}` : types.map(code).join(', ')
}

function code(text: string): string {
  return `\`${text}\``
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
