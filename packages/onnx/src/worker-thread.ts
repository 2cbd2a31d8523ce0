import { Worker } from 'node:worker_threads'
import { TollgateError } from '@tollgate/core/errors'
import type { WorkerReply, WorkerRequest, WorkerSettings } from './worker-protocol.js'

/** One worker thread and the one request it may be busy with. */
export interface WorkerThread {
  /** Posts a request and resolves with its reply. One at a time: the caller keeps the queue. Rejects if the thread dies. */
  request(request: WorkerRequest, transfer?: readonly ArrayBuffer[]): Promise<WorkerReply>
  /** Ends the thread. Only ever to be called while no request is open. */
  end(): Promise<void>
}

export interface WorkerThreadOptions {
  readonly url: URL
  readonly settings: WorkerSettings
  /** The thread has ended by itself. Called before the open request is rejected. */
  readonly onCrash: () => void
}

interface OpenRequest {
  readonly resolve: (reply: WorkerReply) => void
  readonly reject: (error: TollgateError) => void
}

/**
 * Starts a worker thread. While a request is open the thread keeps the process alive, because a process that ends with a thread
 * inside native code is aborted; between requests it does not, so that an idle worker never holds a process up.
 */
export function startWorkerThread({ url, settings, onCrash }: WorkerThreadOptions): WorkerThread {
  // A thread inherits the flags of the process, and one of them (`node --input-type=module -e …`) forbids it to run a file.
  const isEvaluated = process.execArgv.some((argument) => argument.startsWith('--input-type'))
  const flags = isEvaluated ? { execArgv: [] } : {}
  const worker = new Worker(url, { workerData: settings, name: 'tollgate-onnx', ...flags })
  let open: OpenRequest | undefined
  let ending = false
  let fault: unknown

  function close(): OpenRequest | undefined {
    const closed = open
    open = undefined
    worker.unref()
    return closed
  }

  worker.unref()
  worker.on('message', (reply: WorkerReply) => close()?.resolve(reply))
  worker.on('messageerror', (error) => {
    close()?.reject(new TollgateError('upstream_invalid', "The model's answer could not be read.", { cause: error }))
  })
  worker.on('error', (error) => {
    fault = error
  })
  worker.on('exit', (exitCode) => {
    if (ending) return
    onCrash()
    const cause = fault ?? new Error(`The worker thread ended with exit code ${exitCode}.`)
    const message = 'The worker thread ended while it ran this call. It is started again for the next one.'
    close()?.reject(new TollgateError('upstream_failed', message, { cause }))
  })

  return {
    request(request, transfer = []) {
      return new Promise((resolve, reject) => {
        worker.ref()
        open = { resolve, reject }
        try {
          worker.postMessage(request, transfer)
        } catch (error) {
          close()
          reject(new TollgateError('internal', 'The input cannot be handed to the worker thread.', { cause: error }))
        }
      })
    },
    async end() {
      ending = true
      await worker.terminate()
    },
  }
}
