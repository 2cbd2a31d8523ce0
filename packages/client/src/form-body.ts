import { UsageError } from './errors.js'
import { randomHex } from './random-hex.js'

/** The bytes of a file. A stream is sent as it comes, once: such a call is not tried again. (Browsers can send streams over HTTP/2 alone, and some not at all.) */
export type FileContent = Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array>

/** A file with its name, by whose ending models tell what it is: `talk.mp3`. */
export interface NamedFile {
  readonly content: FileContent
  readonly name: string
  /** Default: that of a Blob, else `application/octet-stream`. */
  readonly type?: string | undefined
}

/** A `File` has a name; a Blob without one is named after its type. */
export type FileInput = FileContent | NamedFile

export interface FormBody {
  readonly contentType: string
  readonly body: Blob | ReadableStream<Uint8Array>
}

type Piece = string | FileContent

/**
 * A multipart form (RFC 7578). `model` comes first and files come last: the server sends a form on while it arrives, and has to know the model before. Lists and objects are written as OpenAI reads them: `include[]`,
 * `chunking_strategy[type]`. Throws `request_invalid` for what is no file or no value.
 *
 * @param more fields that win over those of the request
 */
export function formBody(request: object, fileFields: readonly string[], more: object = {}): FormBody {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) {
    throw new UsageError('request_invalid', 'The request must be an object.')
  }
  const { model, ...fields }: Record<string, unknown> = { ...request, ...more }
  const boundary = `tollgate-${randomHex()}`
  const pieces: Piece[] = []
  const part = (name: string, value: Piece, disposition = '') =>
    pieces.push(
      `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"${disposition}\r\n\r\n`,
      value,
      '\r\n',
    )

  const field = (name: string, value: unknown): void => {
    if (value === undefined || value === null) return
    if (Array.isArray(value)) for (const each of value) field(`${name}[]`, each)
    else if (typeof value === 'object') for (const [key, each] of Object.entries(value)) field(`${name}[${key}]`, each)
    else if (typeof value === 'function' || typeof value === 'symbol') throw invalid(name, 'no value of a form')
    else part(name, String(value))
  }
  const file = (name: string, input: unknown): void => {
    const { content, name: fileName, type } = fileOf(name, input)
    part(name, content, `; filename="${quoted(fileName)}"\r\nContent-Type: ${type.replace(/[\r\n]/g, '')}`)
  }

  field('model', model)
  for (const [name, value] of Object.entries(fields)) if (!fileFields.includes(name)) field(name, value)
  for (const name of fileFields) {
    const value = fields[name]
    if (Array.isArray(value)) for (const each of value) file(`${name}[]`, each)
    else if (value !== undefined) file(name, value)
  }
  pieces.push(`--${boundary}--\r\n`)
  return { contentType: `multipart/form-data; boundary=${boundary}`, body: bodyOf(pieces) }
}

/** One Blob, which has a length and can be sent again, unless a part is a stream. */
function bodyOf(pieces: readonly Piece[]): FormBody['body'] {
  if (!pieces.some(isStream)) return new Blob(pieces as BlobPart[])
  const bytes = bytesOf(pieces)
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await bytes.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      await bytes.return()
    },
  })
}

async function* bytesOf(pieces: readonly Piece[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of pieces) {
    const reader = (isStream(piece) ? piece : new Blob([piece as BlobPart]).stream()).getReader()
    let done = false
    try {
      for (;;) {
        const step = await reader.read()
        done = step.done
        if (step.value === undefined) break
        yield step.value
      }
    } finally {
      // Whoever gives a stream gets it back closed: nobody else will read on.
      if (!done) reader.cancel().catch(() => {})
    }
  }
}

function fileOf(field: string, input: unknown): Required<NamedFile> & { readonly type: string } {
  const isNamed = typeof input === 'object' && input !== null && 'content' in input
  const { content, name, type } = (isNamed ? input : { content: input }) as Partial<NamedFile>
  const isBytes = content instanceof ArrayBuffer || ArrayBuffer.isView(content)
  if (!isBytes && !(content instanceof Blob) && !isStream(content)) {
    throw invalid(field, 'no file: give a Blob, a File, bytes, a ReadableStream, or { content, name }')
  }
  const ownType = type ?? (content instanceof Blob && content.type !== '' ? content.type : 'application/octet-stream')
  const ownName = name ?? (content as { name?: unknown }).name
  return { content, type: ownType, name: typeof ownName === 'string' ? ownName : nameByType(ownType) }
}

/** `audio/x-wav` is a `file.wav`. */
function nameByType(type: string): string {
  const [, subtype] = /^[a-z]+\/(?:x-)?([a-z0-9]+)/i.exec(type) ?? []
  return subtype === undefined || type === 'application/octet-stream' ? 'file' : `file.${subtype}`
}

export function isStream(value: unknown): value is ReadableStream<Uint8Array> {
  return typeof value === 'object' && value !== null && typeof (value as ReadableStream).getReader === 'function'
}

/** As browsers write it (WHATWG HTML, 4.10.21.8). */
function quoted(name: string): string {
  return name.replace(/\r\n|\r|\n/g, '%0D%0A').replaceAll('"', '%22')
}

function invalid(field: string, what: string): UsageError {
  return new UsageError('request_invalid', `${field} is ${what}.`)
}
