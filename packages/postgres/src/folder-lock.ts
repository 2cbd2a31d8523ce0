import { join } from 'node:path'

/**
 * Holds a folder for this process, until it lets go or ends, however it ends. Embedded Postgres does not look whether another process has its files open, and two
 * that do destroy them.
 *
 * The lock is SQLite's on a file beside the data (`lock`): of the operating system, so nothing stale is left behind by a process that was killed.
 *
 * @returns lets go
 * @throws Error if another process holds it
 */
export async function holdFolder(folder: string): Promise<() => void> {
  const { DatabaseSync } = await import('node:sqlite').catch((cause: unknown) => {
    throw new Error('Embedded Postgres in a folder needs Node 22.13 or later.', { cause })
  })
  const lock = new DatabaseSync(join(folder, 'lock'), { timeout: 0 })
  try {
    lock.exec('pragma locking_mode = exclusive; begin exclusive')
  } catch (cause) {
    lock.close()
    throw new Error(
      `The folder ${folder} is in use by another process: one at a time may have embedded Postgres there.`,
      {
        cause,
      },
    )
  }
  return () => lock.close()
}
