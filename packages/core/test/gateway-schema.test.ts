import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { gatewayJsonSchema } from '../src/gateway/config.js'

it('is what docs/reference/gateway.schema.json says', async () => {
  const file = new URL('../../../docs/reference/gateway.schema.json', import.meta.url)
  // Written anew by: vitest run packages/core/test/gateway-schema.test.ts -u
  await expect(`${JSON.stringify(gatewayJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(file.pathname)
  expect(JSON.parse(readFileSync(file, 'utf8'))).toHaveProperty('properties.providers')
})
