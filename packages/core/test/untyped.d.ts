declare module 'compression' {
  import type { Handler } from 'express'

  const compression: (options?: { threshold?: number }) => Handler
  export = compression
}

// Close enough for tests: what they use is the same in both.
declare module 'express4' {
  import express from 'express'
  export = express
}
