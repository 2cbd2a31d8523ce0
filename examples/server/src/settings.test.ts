import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSettings, SettingsError } from './settings.js'

const embedded = ['echo', 'language-id', 'iris']

function mistakesOf(variables: Record<string, string>): Record<string, string> {
  try {
    readSettings(variables, embedded)
  } catch (error) {
    if (error instanceof SettingsError) {
      return Object.fromEntries(error.mistakes.map(({ name, message }) => [name, message]))
    }
    throw error
  }
  return {}
}

describe('readSettings', () => {
  it('has a default for everything', () => {
    expect(readSettings({ PATH: '/bin', PORT: '' }, embedded)).toMatchObject({
      PORT: 8000,
      HOST: '127.0.0.1',
      RATE_LIMIT_FREE: 10,
      RATE_LIMIT_PRO: 100,
      RATE_LIMIT_ENTERPRISE: 1000,
    })
  })

  it('lists every mistake at once, by name, with the mend', () => {
    const mistakes = mistakesOf({
      PORT: 'eighty',
      API_KEY: 'short',
      MODEL_NAME: 'gpt-4o',
      LOG_LEVEL: 'loud',
      JWT_SECRET: 'x',
      JWT_JWKS_URL: 'https://issuer.example/jwks',
      USERS_FILE: '/nowhere/users.json',
      CACHE_TTL_SECONDS: '-1',
    })
    expect(Object.keys(mistakes).sort()).toEqual([
      'API_KEY',
      'CACHE_TTL_SECONDS',
      'JWT_JWKS_ISSUER',
      'JWT_SECRET',
      'LOG_LEVEL',
      'MODEL_NAME',
      'PORT',
      'USERS_FILE',
    ])
    expect(mistakes['PORT']).toContain('whole number from 0 to 65535')
    expect(mistakes['MODEL_NAME']).toContain('set OPENAI_API_KEY or OPENAI_BASE_URL, or use echo, language-id, iris')
    expect(mistakes['USERS_FILE']).toContain('ENOENT')
  })

  it('never repeats a secret', () => {
    const text = JSON.stringify(mistakesOf({ API_KEY: 'hunter2', JWT_SECRET: 'hunter3' }))
    expect(text).not.toContain('hunter')
  })

  it('takes any model name once there is an upstream, and wants one for an upstream that is not OpenAI', () => {
    expect(readSettings({ OPENAI_API_KEY: 'sk', MODEL_NAME: 'gpt-4o' }, embedded).MODEL_NAME).toBe('gpt-4o')
    expect(mistakesOf({ OPENAI_API_KEY: 'sk' })).toEqual({})
    expect(mistakesOf({ OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1' })).toHaveProperty('MODEL_NAME')
    expect(mistakesOf({ OPENAI_BASE_URL: 'ftp://x' })).toHaveProperty('OPENAI_BASE_URL')
  })

  it('reads users from a file or from the variable, not from both', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'tollgate-')), 'users.json')
    writeFileSync(file, '[]')
    expect(readSettings({ USERS_FILE: file }, embedded).usersJson).toBe('[]')
    expect(readSettings({ USERS: '[ ]' }, embedded).usersJson).toBe('[ ]')
    expect(mistakesOf({ USERS: '[]', USERS_FILE: file })).toHaveProperty('USERS_FILE')
  })
})
