import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { gpuAvailable } from './gpu.js'

it.each([
  [['null', 'nvidiactl'], false],
  [['null', 'nvidia0'], true],
  [['kfd'], true],
  [[], false],
])('sees the devices %j: %s', (names, available) => {
  const devices = mkdtempSync(join(tmpdir(), 'tollgate-dev-'))
  for (const name of names) writeFileSync(join(devices, name), '')
  expect(gpuAvailable(devices)).toBe(available)
})

it('sees none where there are no device files', () => {
  expect(gpuAvailable('/nowhere')).toBe(false)
})
