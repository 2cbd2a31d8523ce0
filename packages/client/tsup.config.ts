import { defineConfig } from 'tsup'

// One file for browsers, edge runtimes and Node; ky stays an import. The declarations are made by scripts/declarations.ts.
export default defineConfig({
  entry: ['src/index.ts'],
  format: 'esm',
  target: 'es2022',
  platform: 'neutral',
  clean: true,
  sourcemap: true,
  silent: true,
})
