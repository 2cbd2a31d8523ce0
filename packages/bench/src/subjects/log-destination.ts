import pino from 'pino'

/** Where subjects write their log: buffered, to nowhere unless `LOG_FILE` names a place. */
export function logDestination(): pino.DestinationStream {
  return pino.destination({ dest: process.env['LOG_FILE'] ?? '/dev/null', sync: false, minLength: 4096 })
}
