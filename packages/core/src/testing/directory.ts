import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import type { ApiKeyRecord, Directory, UserRecord } from '../stores/directory.js'

/** What a directory is filled with before a case runs. */
export interface DirectorySeed {
  readonly apiKeys: ReadonlyArray<Omit<ApiKeyRecord, 'secrets'> & { readonly key: string }>
  readonly users: readonly UserRecord[]
}

/** Makes a directory that holds the seed and nothing else. */
export type MakeDirectory = (seed: DirectorySeed) => Directory | Promise<Directory>

export interface DirectoryCase {
  readonly name: string
  run(make: MakeDirectory): Promise<void>
}

const idOf = (key: string) => `sha256:${hash('sha256', key)}`
const passwordHash = '$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

const full = { id: 'k1', tenant: 'acme', subject: 'website', tier: 'pro', scopes: ['chat', 'embed'], expiresAt: 4e12 }
const bare = { id: 'k2', tenant: 'globex', subject: 'batch', scopes: [] }
const disabled = { id: 'k3', tenant: 'acme', subject: 'old', scopes: [], disabled: true }
const ada = { username: 'ada', tenant: 'acme', tier: 'pro', scopes: ['chat'], passwordHash }
const bob = { username: 'bob', tenant: 'globex', scopes: [], passwordHash, disabled: true }

const seed: DirectorySeed = {
  apiKeys: [
    { ...full, key: 'full' },
    { ...bare, key: 'bare' },
    { ...disabled, key: 'disabled' },
  ],
  users: [ada, bob],
}

/** Optional fields that are not there are not there as `undefined` or `null` either. */
const same = (found: unknown, wanted: object) => {
  assert.deepEqual({ ...(found as object) }, wanted)
}

const sameKey = async (directory: Directory, key: string, wanted: object) => {
  const found = await directory.findApiKey(idOf(key))
  assert.ok(found)
  const { secrets, ...rest } = found
  same(rest, wanted)
  assert.ok(secrets.some(({ digest }) => directory.digestsOf(key).includes(digest)))
  assert.ok(!secrets.some(({ digest }) => directory.digestsOf(`${key}x`).includes(digest)))
}

/**
 * What every {@link Directory} does, as plain data.
 *
 * @example for (const { name, run } of directoryCases) it(name, () => run((seed) => myDirectory(seed)))
 */
export const directoryCases: readonly DirectoryCase[] = [
  {
    name: 'finds a key by its id, with all its fields and a digest that is that of the key',
    run: (make) => using(make, async (directory) => sameKey(directory, 'full', full)),
  },
  {
    name: 'leaves out optional fields that a key does not have',
    run: (make) => using(make, async (directory) => sameKey(directory, 'bare', bare)),
  },
  {
    name: 'finds a disabled key, marked so',
    run: (make) => using(make, async (directory) => sameKey(directory, 'disabled', disabled)),
  },
  {
    name: 'answers undefined for an id that it does not hold',
    run: (make) =>
      using(make, async (directory) => assert.equal(await directory.findApiKey(idOf('unknown')), undefined)),
  },
  {
    name: 'takes nothing but the whole id: no key, no prefix, no wildcard, no other case',
    run: (make) =>
      using(make, async (directory) => {
        const digest = idOf('full')
        const wrong = [
          'full',
          '',
          '%',
          digest.slice(7),
          digest.slice(0, 32),
          digest.slice(0, -1),
          `${digest}0`,
          ` ${digest}`,
        ]
        for (const each of [...wrong, digest.toUpperCase(), `${digest.slice(0, -1)}%`, `${digest.slice(0, -1)}_`]) {
          assert.equal(await directory.findApiKey(each), undefined, JSON.stringify(each))
        }
      }),
  },
  {
    name: 'finds a user by name, with all fields',
    run: (make) =>
      using(make, async (directory) => {
        same(await directory.findUser('ada'), ada)
        same(await directory.findUser('bob'), bob)
      }),
  },
  {
    name: 'answers undefined for names that nobody has, whatever they hold',
    run: (make) =>
      using(make, async (directory) => {
        for (const name of [
          'eve',
          '',
          '%',
          'a_a',
          "ada' OR '1'='1",
          '__proto__',
          'constructor',
          'ada\u0000',
          '\ud800',
        ]) {
          assert.equal(await directory.findUser(name), undefined, JSON.stringify(name))
        }
      }),
  },
  {
    name: 'hands out snapshots: changing one changes nothing for the next',
    run: (make) =>
      using(make, async (directory) => {
        const first = await directory.findApiKey(idOf('full'))
        assert.ok(first)
        attempt(() => (first.scopes as string[]).push('admin'))
        attempt(() => Object.assign(first, { tenant: 'globex' }))
        sameKey(directory, 'full', full)
      }),
  },
  {
    name: 'answers lookups that run at once, each with its own',
    run: (make) =>
      using(make, async (directory) => {
        const keys = Array.from({ length: 60 }, (_, index) => ['full', 'bare', 'unknown'][index % 3] ?? '')
        const found = await Promise.all(keys.map(async (key) => (await directory.findApiKey(idOf(key)))?.id))
        assert.deepEqual(
          found,
          keys.map((key) => ({ full: 'k1', bare: 'k2' })[key]),
        )
      }),
  },
  {
    name: 'closes twice without complaint',
    async run(make) {
      const directory = await make(seed)
      await directory.close()
      await directory.close()
    },
  },
]

async function using(make: MakeDirectory, check: (directory: Directory) => Promise<void>): Promise<void> {
  const directory = await make(seed)
  try {
    await check(directory)
  } finally {
    await directory.close()
  }
}

/** A frozen snapshot refuses loudly, a copy in silence. */
function attempt(change: () => void): void {
  try {
    change()
  } catch (error) {
    assert.ok(error instanceof TypeError)
  }
}
