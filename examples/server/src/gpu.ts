import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Does this machine show a GPU that computes: an NVIDIA device (`/dev/nvidia0`) or AMD's compute driver (`/dev/kfd`)? In a container that is
 * whether one was handed to it. The embedded models run on the CPU either way.
 */
export function gpuAvailable(devices = '/dev'): boolean {
  if (!existsSync(devices)) return false
  return existsSync(join(devices, 'kfd')) || readdirSync(devices).some((name) => /^nvidia\d+$/.test(name))
}
