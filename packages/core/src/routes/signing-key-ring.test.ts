import { beforeEach, expect, it, vi } from 'vitest'
import type { DirectoryChange } from '../stores/directory.js'
import type { IdentityStore } from '../stores/identity-store.js'
import { memoryIdentityStore } from '../stores/memory-identity-store.js'
import { askWithin } from './ask-within.js'
import { signingKeyRing } from './signing-key-ring.js'

const minute = 60_000
const day = 24 * 60 * minute
let time: number
let store: IdentityStore
const now = () => time
const ringOn = (from: IdentityStore = store) =>
  signingKeyRing({ store: from, ask: askWithin(1000), maxAgeMs: 30 * day, now })
const kids = async (ring: ReturnType<typeof ringOn>) => (await ring.keySet()).keys.map(({ kid }) => kid)

beforeEach(() => {
  time = Date.UTC(2026, 0, 1)
  store = memoryIdentityStore({ now })
})

it('makes one first key, however many ask at once, in however many processes', async () => {
  const rings = [ringOn(), ringOn(), ringOn()]
  const signers = await Promise.all(rings.flatMap((ring) => [ring.signer(), ring.signer()]))
  expect(new Set(signers.map(({ kid }) => kid)).size).toBe(1)
  expect(await store.signingKeys(time)).toHaveLength(1)
})

it('makes one new key when two processes rotate at once', async () => {
  const [one, two] = [ringOn(), ringOn()]
  await Promise.all([one.signer(), two.signer()])
  const [first, second] = await Promise.all([one.rotate(), two.rotate()])
  expect(first).toBe(second)
  expect(await kids(one)).toHaveLength(2)
  expect(await kids(two)).toEqual(await kids(one))
})

it('publishes a new key 15 minutes before it signs, and the old one until the last token is over', async () => {
  const ring = ringOn()
  const old = (await ring.signer()).kid
  const next = await ring.rotate()
  expect(await kids(ring)).toEqual([old, next])
  time += 15 * minute - 1
  expect((await ring.signer()).kid).toBe(old)
  time += 1
  expect((await ring.signer()).kid).toBe(next)
  time += day
  expect(await kids(ring)).toEqual([old, next])
  time += 10 * minute
  expect(await kids(ring)).toEqual([next])
})

it('replaces a key that is old enough by itself, once', async () => {
  const [one, two] = [ringOn(), ringOn()]
  const { kid } = await one.signer()
  await two.signer()
  time += 30 * day
  expect((await Promise.all([one.signer(), two.signer()])).map((signer) => signer.kid)).toEqual([kid, kid])
  expect(await store.signingKeys(time)).toHaveLength(2)
  time += 15 * minute
  expect((await one.signer()).kid).not.toBe(kid)
  expect((await one.signer()).kid).toBe((await two.signer()).kid)
})

it('hears of a rotation elsewhere within a minute, or as soon as something may have been missed', async () => {
  let tell: (change: DirectoryChange) => void = () => {}
  const loud: IdentityStore = {
    ...store,
    onChange(listener) {
      tell = listener
      return () => {}
    },
  }
  const [here, elsewhere] = [ringOn(loud), ringOn()]
  const before = await here.keySet()
  await elsewhere.rotate()
  expect(await here.keySet()).toBe(before)
  tell({ kind: 'all' })
  expect((await here.keySet()).keys).toHaveLength(2)
  await elsewhere.rotate()
  expect((await here.keySet()).keys).toHaveLength(2)
  time += minute
  expect((await here.keySet()).keys).toHaveLength(3)
})

it('serves on with the keys it has while the store is down, and asks again shortly', async () => {
  const signingKeys = vi.fn(store.signingKeys)
  const ring = ringOn({ ...store, signingKeys })
  const { kid } = await ring.signer()
  const set = await ring.keySet()
  signingKeys.mockRejectedValue(new Error('down'))
  time += minute
  expect((await ring.signer()).kid).toBe(kid)
  const asked = signingKeys.mock.calls.length
  expect(await ring.keySet()).toBe(set)
  expect(signingKeys).toHaveBeenCalledTimes(asked)
  time += 5000
  await ring.keySet()
  expect(signingKeys).toHaveBeenCalledTimes(asked + 1)
})

it('is unavailable when it never had a key, and recovers', async () => {
  const signingKeys = vi.fn(store.signingKeys).mockRejectedValue(new Error('down'))
  const ring = ringOn({ ...store, signingKeys })
  await expect(ring.signer()).rejects.toMatchObject({ code: 'identity_unavailable' })
  signingKeys.mockImplementation(store.signingKeys)
  time += 5000
  await expect(ring.signer()).resolves.toMatchObject({ kid: expect.any(String) })
})

it('retires even if somebody else rotates at the same time', async () => {
  const [one, two] = [ringOn(), ringOn()]
  const old = (await one.signer()).kid
  const [, last] = await Promise.all([one.rotate(), two.rotate(undefined, { retireNow: true })])
  expect(await kids(two)).not.toContain(old)
  expect((await two.signer()).kid).toBe((await kids(two)).includes(last) ? last : undefined)
})
