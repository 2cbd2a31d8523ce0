import { afterAll, describe, expect, it } from 'vitest'
import { authenticationSubjects } from '../src/authentication-subjects.ts'
import { statusOf } from '../src/in-process.ts'

// Nothing here is about time: a subject that lets the wrong ones in must not be compared.
const { subjects, stop } = await authenticationSubjects()
afterAll(stop)

describe.each(subjects)('$group: $name', ({ app, credentials, wrong }) => {
  it('lets in whom it is measured with, and nobody else', async () => {
    for (const credential of credentials.slice(0, 32)) expect(await statusOf(app, `Bearer ${credential}`)).toBe(200)
    for (const credential of wrong) expect(await statusOf(app, `Bearer ${credential}`)).toBe(401)
    expect(await statusOf(app, undefined)).toBe(401)
  })
})
