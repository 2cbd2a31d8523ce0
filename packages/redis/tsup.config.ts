import { defineConfig } from 'tsup'

// One output file per source file: a subpath import loads what it names and nothing else.
export default defineConfig({
  entry: ['src/**/*.ts', '!src/**/*.test.ts'],
  format: 'esm',
  target: 'node22',
  bundle: false,
  clean: true,
  sourcemap: true,
  silent: true,
})
