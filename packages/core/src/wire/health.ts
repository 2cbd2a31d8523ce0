/** `GET /health`: the process is alive. */
export interface Health {
  status: 'ok'
  version: string
  uptime_seconds: number
  models: HealthModel[]
  gpu_available: boolean
}

export interface HealthModel {
  id: string
  task: string
  versions: string[]
}

/** `GET /ready`: 200 when it takes requests, else 503. */
export interface Readiness {
  status: 'ready' | 'loading' | 'draining' | 'failed'
  /** What is missing, by name. */
  checks: Record<string, 'ok' | 'pending' | 'failed'>
}
