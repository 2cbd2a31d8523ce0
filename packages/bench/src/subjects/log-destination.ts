import pino from 'pino'

/** Where subjects write their log: buffered, to nowhere unless `LOG_FILE` names a place. A write is a hand-over to another thread: of 16 KB at once, some twenty lines share it. */
export function logDestination(): pino.DestinationStream {
  return pino.destination({
    dest: process.env['LOG_FILE'] ?? '/dev/null',
    sync: false,
    minLength: 16_384,
    maxWrite: 65_536,
  })
}
