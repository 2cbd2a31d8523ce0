declare module 'compression' {
  import type { Handler } from 'express'

  const compression: (options?: { threshold?: number }) => Handler
  export = compression
}

declare module 'express4' {
  import type { RequestListener } from 'node:http'

  const express: () => RequestListener & { use(...args: unknown[]): unknown }
  export = express
}
