declare module 'express4' {
  import type { RequestListener } from 'node:http'
  const express: () => RequestListener & { use(...args: unknown[]): unknown }
  export default express
}
