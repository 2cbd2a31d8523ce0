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
      PASSWORD_GRANT: 'true',
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
    expect(mistakes['MODEL_NAME']).toContain(
      'set OPENAI_API_KEY, OPENAI_BASE_URL or ANTHROPIC_API_KEY, or use echo, language-id, iris',
    )
    expect(mistakes['USERS_FILE']).toContain('ENOENT')
  })

  it('never repeats a secret', () => {
    const text = JSON.stringify(mistakesOf({ API_KEY: 'hunter2', JWT_SECRET: 'hunter3' }))
    expect(text).not.toContain('hunter')
  })

  it('takes several secrets for ids, and kinds that may be named', () => {
    const secrets = ['a-new-secret-for-ids-0123456789abcdef', 'an-old-secret-for-ids-0123456789abcdef']
    const settings = readSettings({ RESPONSE_IDS_SECRET: secrets.join(', '), RESPONSES_ALLOW: 'files' }, embedded)
    expect(settings).toMatchObject({ RESPONSE_IDS_SECRET: secrets, RESPONSES_ALLOW: ['files'] })
    const mistakes = mistakesOf({ RESPONSE_IDS_SECRET: `${secrets[0]},hunter2`, RESPONSES_ALLOW: 'everything' })
    expect(Object.keys(mistakes).sort()).toEqual(['RESPONSES_ALLOW', 'RESPONSE_IDS_SECRET'])
    expect(mistakes['RESPONSES_ALLOW']).toContain('conversation, prompt, items')
    expect(JSON.stringify(mistakes)).not.toContain('hunter')
    expect(mistakesOf({ RESPONSE_IDS_SECRET: ' , ' })).toHaveProperty('RESPONSE_IDS_SECRET')
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
    expect(readSettings({ USERS_FILE: file, PASSWORD_GRANT: 'yes' }, embedded).usersJson).toBe('[]')
    expect(readSettings({ USERS: '[ ]', PASSWORD_GRANT: '1' }, embedded).usersJson).toBe('[ ]')
    expect(Object.keys(mistakesOf({ USERS: '[]', USERS_FILE: file })).sort()).toEqual(['PASSWORD_GRANT', 'USERS_FILE'])
  })

  it('takes https addresses, and http on this host', () => {
    for (const url of ['https://gate.example.com/ai', 'http://localhost:8000', 'http://127.0.0.1', 'http://[::1]:80']) {
      expect(mistakesOf({ PUBLIC_URL: url, OIDC_ISSUERS: `${url}, https://b.example` })).toEqual({})
    }
    for (const url of ['http://gate.example.com', 'gate.example.com', 'https://x.example?y', 'ftp://localhost']) {
      expect(mistakesOf({ PUBLIC_URL: url })).toHaveProperty('PUBLIC_URL')
    }
    expect(mistakesOf({ OIDC_ISSUERS: 'https://a.example,http://b.example' })).toHaveProperty('OIDC_ISSUERS')
  })
})
