import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes that wait on the disk. */
export interface FileSpool {
  write(bytes: Uint8Array): Promise<void>
  /** All of them, in their order. */
  read(): AsyncIterable<Buffer>
  close(): Promise<void>
}

const readBytes = 65_536

/** A file without a name: nobody else sees it, and a process that dies leaves nothing behind. */
export async function fileSpool(folder: string): Promise<FileSpool> {
  const path = join(folder, `tollgate-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    await unlink(path)
  } catch (error) {
    await file.close()
    throw error
  }
  let length = 0
  return {
    async write(bytes) {
      await file.appendFile(bytes)
      length += bytes.byteLength
    },
    read: () => bytesOf(file, () => length),
    close: () => file.close(),
  }
}

async function* bytesOf(file: FileHandle, length: () => number): AsyncGenerator<Buffer> {
  for (let at = 0; at < length(); ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(readBytes), 0, readBytes, at)
    if (bytesRead === 0) throw new Error('A file became shorter while it was read.')
    at += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}
