import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { packageViolations, sourcesBelow, violations } from './architecture.js'

const root = join(import.meta.dirname, '..')

describe('the import table', () => {
  it('holds in core', () => {
    const sources = sourcesBelow(join(root, 'packages/core/src'))
    expect(sources.size).toBeGreaterThan(20)
    expect(violations(sources)).toEqual([])
  })

  it('holds in the other packages and the examples', () => {
    for (const parent of ['packages', 'examples']) {
      for (const name of readdirSync(join(root, parent))) {
        const folder = join(root, parent, name, 'src')
        if (name === 'core' || !existsSync(folder)) continue
        expect(packageViolations(name, sourcesBelow(folder))).toEqual([])
      }
    }
  })

  it.each([
    ['middleware/auth.ts', "import { run } from '../inference/service.js'", 'middleware must not know inference'],
    ['inference/service.ts', "import type { Handler } from '../http/handler.js'", 'inference must not know http'],
    ['http/body.ts', "export { x } from '../middleware/auth.js'", 'http must not know middleware'],
    ['routes/chat.ts', "import { cases } from '../testing/provider.js'", 'nothing imports testing'],
    ['providers/echo.ts', "const x = await import('../http/sse.js')", 'providers must not know http'],
    ['middleware/auth.ts', "import {\n  a,\n  type B,\n} from '../routes/token.js'", 'middleware must not know routes'],
    ['middleware/auth.ts', "import '../routes/token.js'", 'middleware must not know routes'],
    ['testing/provider.ts', "import { x } from '../stores/memory-cache-store.js'", 'testing takes types only'],
    ['stores/utils.ts', '', 'name it after what it holds'],
    ['odds/ends.ts', '', 'not in the table'],
    ['stores/a.ts', "import { x } from '@tollgate/core/http/body'", 'use relative paths'],
  ])('finds a violation planted in %s: %s', (file, source, words) => {
    expect(violations(new Map([[file, source]])).join('\n')).toContain(words)
  })

  it('finds a planted cycle of folders', () => {
    const planted = new Map([
      ['http/a.ts', "import { b } from '../stores/b.js'"],
      ['stores/b.ts', "import { a } from '../http/a.js'"],
    ])
    expect(violations(planted).join('\n')).toContain('a cycle: http → stores → http')
  })

  it('finds a client that takes more than types of wire, and a package that reaches into another', () => {
    const planted = new Map([
      ['a.ts', "import { chatRequest } from '@tollgate/core/wire/openai-chat'"],
      ['b.ts', "import type { Usage } from '@tollgate/core/usage'"],
      ['c.ts', "import { x } from '../../core/src/errors.js'"],
    ])
    expect(packageViolations('client', planted)).toHaveLength(3)
    expect(
      packageViolations('client', new Map([['d.ts', "import type { Me } from '@tollgate/core/wire/token'"]])),
    ).toEqual([])
  })
})
