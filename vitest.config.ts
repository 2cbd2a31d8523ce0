import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['packages/*/{src,test}/**/*.test.ts', 'examples/*/{src,test}/**/*.test.ts', 'test/**/*.test.ts'],
    // A test that waits longer than this is hung: every wait in the code under test has a shorter limit of its own.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // What is polled for comes, if not at once: a second is too short for a machine that is held up.
    expect: { poll: { timeout: 10_000 } },
  },
})
