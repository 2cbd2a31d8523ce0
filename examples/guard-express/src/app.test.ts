import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { makeApp } from './app.ts'

let server: Server
let url: string

beforeAll(async () => {
  server = makeApp('the-key-of-the-test').listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => void server.close())

it('leaves open what was open, and guards the rest', async () => {
  expect((await fetch(url)).status).toBe(200)
  expect((await fetch(`${url}/reports/1`)).status).toBe(401)
  const headers = { 'x-api-key': 'the-key-of-the-test' }
  const statuses = []
  for (let count = 0; count < 11; count += 1) statuses.push((await fetch(`${url}/reports/1`, { headers })).status)
  expect(statuses).toEqual([...Array(10).fill(200), 429])
})
