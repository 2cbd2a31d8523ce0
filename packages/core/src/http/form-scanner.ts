import { TollgateError } from '../errors.js'

/**
 * A stretch of a form as it passes: its bytes; or a place for the field that is looked for, with what the form has there (`undefined`: a form
 * without the field has come to its end).
 */
export type FormPiece = Buffer | { readonly value: Buffer | undefined }

/** Watches the bytes of a multipart form pass, and cuts out one field. */
export interface FormScanner {
  /** All of the bytes that are decided by now, in their order. A few stay behind until more is known. */
  push(chunk: Buffer): FormPiece[]
  /** The last boundary has come. */
  isComplete(): boolean
  /** A file has begun. */
  hasFile(): boolean
  /** What was noted so far: fields that have passed whole, the last of a name. */
  noted(): ReadonlyMap<string, string>
}

/** Bytes of the header of one part. */
const maxHeaderBytes = 8_192
/** Bytes of the field's value. */
const maxValueBytes = 1_024
/** A field that is longer is not noted. */
const maxNoteBytes = 64

/**
 * `multipart/form-data` (RFC 7578), read strictly: whoever gets the bytes may read them another way, and must not find a field that was not seen here. So the first boundary begins the body, lines end in CRLF, the
 * boundary stands nowhere but between parts, a part has one plain `Content-Disposition`, and the field stands once.
 *
 * @param notes names of short fields that are noted as they pass
 * @throws TollgateError `invalid_request`, from `push`
 */
export function formScanner(boundary: string, field: string, notes: readonly string[] = []): FormScanner {
  const dashes = Buffer.from(`--${boundary}`, 'latin1')
  let state: 'start' | 'delimited' | 'header' | 'content' | 'closed' = 'start'
  let rest: Buffer = Buffer.alloc(0)
  /** What `rest` was when something was last handed out, and how much of it may follow: what stands together goes in one piece, however many parts it is of. */
  let run = rest
  let decidedBytes = 0
  /** Of a part that is the field: its value so far. */
  let value: Buffer[] | undefined
  let isFound = false
  let hasFile = false
  const noted = new Map<string, string>()
  /** Of a part that is noted: its name, and its value so far. */
  let note: { readonly name: string; value: string } | undefined
  /** Behind the last boundary: what may be the beginning of another. */
  let tail: Buffer = Buffer.alloc(0)

  const flush = (pieces: FormPiece[]) => {
    if (decidedBytes > 0) pieces.push(run.subarray(0, decidedBytes))
    run = rest
    decidedBytes = 0
  }

  const step = (pieces: FormPiece[]): boolean => {
    const pass = (bytes: number) => {
      decidedBytes += bytes
      rest = rest.subarray(bytes)
    }
    switch (state) {
      case 'start': {
        if (rest.length < dashes.length) return false
        if (!rest.subarray(0, dashes.length).equals(dashes)) throw malformed('it does not begin with its boundary')
        pass(dashes.length)
        state = 'delimited'
        return true
      }
      case 'delimited': {
        if (rest.length < 2) return false
        const next = rest.toString('latin1', 0, 2)
        if (next !== '\r\n' && next !== '--') throw malformed('a boundary is followed by something else')
        state = next === '--' ? 'closed' : 'header'
        if (state === 'closed' && !isFound) {
          flush(pieces)
          pieces.push(Buffer.from(`\r\nContent-Disposition: form-data; name="${field}"\r\n\r\n`))
          pieces.push({ value: undefined }, Buffer.from(`\r\n--${boundary}`, 'latin1'))
        }
        pass(2)
        return true
      }
      case 'header': {
        const end = rest.indexOf('\r\n\r\n')
        if (end > maxHeaderBytes || (end === -1 && rest.length > maxHeaderBytes + 4)) {
          throw malformed(`the header of a part is over ${maxHeaderBytes} bytes`)
        }
        if (end === -1) return false
        const header = rest.subarray(0, end)
        if (header.includes(dashes)) throw malformed('its boundary stands within the header of a part')
        const { name, isFile } = readHeader(header.toString('latin1'))
        hasFile ||= isFile
        note = !isFile && notes.includes(name) ? { name, value: '' } : undefined
        // There are parsers for which these are the same.
        if (name.trim().toLowerCase() === field) {
          if (name !== field) throw malformed(`it has a field that is called nearly ${field}`)
          if (isFile || isFound) throw malformed(`the field ${field} stands in it as a file, or more than once`)
          isFound = true
          value = []
        }
        pass(end + 4)
        state = 'content'
        return true
      }
      case 'content': {
        const at = rest.indexOf(dashes)
        // CRLF and the beginning of a boundary may be what the last bytes are.
        const decided = at === -1 ? Math.max(0, rest.length - dashes.length - 1) : at - 2
        if (at !== -1 && (at < 2 || rest.toString('latin1', at - 2, at) !== '\r\n')) {
          throw malformed('its boundary stands within a part')
        }
        if (note !== undefined) note.value += rest.toString('latin1', 0, Math.min(decided, maxNoteBytes + 1))
        if (note !== undefined && note.value.length > maxNoteBytes) note = undefined
        if (value === undefined) pass(decided)
        else if (decided > 0) {
          flush(pieces)
          value.push(rest.subarray(0, decided))
          rest = rest.subarray(decided)
          run = rest
        }
        const read = value?.reduce((sum, { length }) => sum + length, 0) ?? 0
        if (read > maxValueBytes) throw malformed(`the field ${field} is over ${maxValueBytes} bytes`)
        if (at === -1) return false
        if (value !== undefined) {
          flush(pieces)
          pieces.push({ value: Buffer.concat(value) })
        }
        if (note !== undefined) noted.set(note.name, note.value)
        value = undefined
        pass(2 + dashes.length)
        state = 'delimited'
        return true
      }
      default: {
        tail = Buffer.concat([tail, rest])
        if (tail.includes(dashes)) throw malformed('its boundary stands behind the last one')
        tail = tail.subarray(Math.max(0, tail.length - dashes.length + 1))
        pass(rest.length)
        return false
      }
    }
  }

  return {
    push(chunk) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      run = rest
      const pieces: FormPiece[] = []
      while (step(pieces));
      flush(pieces)
      return pieces
    },
    isComplete: () => state === 'closed',
    hasFile: () => hasFile,
    noted: () => noted,
  }
}

const disposition = /^content-disposition[ \t]*:/i
/** `name` in quotes or as a token; `filename`, in either of its forms, behind it. Names with percent signs or backslashes may be read in two ways, and so may a file's name with a quote that is escaped before a semicolon. */
const plain =
  /^content-disposition: ?form-data; ?name=(?:"([^"\\%]*)"|([\w.[\]-]+))((?:; ?filename\*?=(?:"(?:[^"\\]|\\(?!"[ \t]*;).)*"|[^\s";]+))*)[ \t]*$/i

function readHeader(header: string): { readonly name: string; readonly isFile: boolean } {
  const lines = header.split('\r\n')
  // A line that begins with a blank goes on with the one before it; a single CR or LF ends a line for some.
  if (lines.some((line) => /^(?:$|[ \t])|[\r\n\0]/.test(line)))
    throw malformed('a header of a part is empty, folded or broken')
  // Some look for fields in the parts within, too.
  if (lines.some((line) => /^content-type[ \t]*:[ \t]*multipart\//i.test(line)))
    throw malformed('a part has parts itself')
  const [line, second] = lines.filter((each) => disposition.test(each))
  const match = plain.exec(line ?? '')
  if (match === null || second !== undefined) {
    throw malformed('a part has no plain Content-Disposition: form-data; name="…"')
  }
  const [, quoted, token = '', files] = match
  return { name: quoted ?? token, isFile: files !== '' }
}

/** The 400 of a form that cannot be understood in one way only. */
export function malformed(why: string): TollgateError {
  return new TollgateError('invalid_request', `The multipart form is malformed: ${why}.`)
}
