import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { defineGateway, gatewayJsonSchema } from '../src/gateway/config.js'
import { gatewayExamples } from './gateway-examples.js'
import { type JsonSchema, referencePage, sectionsOf } from './gateway-reference.js'

// Both files are written anew by: vitest run packages/core/test/gateway-schema.test.ts -u
const file = (name: string) => new URL(`../../../docs/reference/${name}`, import.meta.url).pathname
const schema = gatewayJsonSchema() as JsonSchema
const { sections } = sectionsOf(schema)

it('is what docs/reference/gateway.schema.json says', async () => {
  const path = file('gateway.schema.json')
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot(path)
  expect(JSON.parse(readFileSync(path, 'utf8'))).toHaveProperty('properties.providers')
})

it('is what docs/reference/gateway.md says', async () => {
  await expect(referencePage(schema, gatewayExamples)).toMatchFileSnapshot(file('gateway.md'))
})

it('says of every key what it means', () => {
  const keys = sections.flatMap(({ path, keys }) =>
    Object.entries(keys).map(([key, { description }]) => [`${path}.${key}`, description ?? ''] as const),
  )
  expect(keys.length).toBeGreaterThan(60)
  expect(keys.filter(([, description]) => !/^\S.*[.!?]$/.test(description))).toEqual([])
})

it('has an example for every section, which is right, and shows it', () => {
  expect(Object.keys(gatewayExamples).toSorted()).toEqual(sections.map(({ path }) => path).toSorted())
  for (const [path, example] of Object.entries(gatewayExamples)) {
    const config: unknown = parse(example)
    expect(() => defineGateway(config as never), path).not.toThrow()
    expect(found(config, path.replaceAll('[]', '.[]').split('.').filter(Boolean)), path).toBe(true)
  }
})

/** Is there anything at a path like `models`, `{name}`, `targets`, `[]`? */
function found(value: unknown, [first, ...rest]: readonly string[]): boolean {
  if (first === undefined) return value !== undefined
  if (typeof value !== 'object' || value === null) return false
  const next = first === '{name}' || first === '[]' ? Object.values(value) : [(value as Record<string, unknown>)[first]]
  return next.some((each) => found(each, rest))
}
