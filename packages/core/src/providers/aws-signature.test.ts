import { Sha256 } from '@aws-crypto/sha256-js'
import { SignatureV4 } from '@smithy/signature-v4'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { awsSignature } from './aws-signature.js'
import type { UpstreamRequest } from './http-kit.js'

const now = new Date('2015-08-30T12:36:00Z')
const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }

afterEach(() => void vi.useRealTimers())

async function fieldsOf(
  sign: ReturnType<typeof awsSignature>,
  url: string,
  request: Pick<UpstreamRequest, 'method' | 'body'>,
) {
  const { headers } = await sign({ path: '', accept: '', ...request }, url)
  return Object.fromEntries(
    headers.flatMap((name, index) => (index % 2 === 0 ? [[name, String(headers[index + 1])]] : [])),
  )
}

describe('awsSignature', () => {
  it('signs the plainest request of the published test suite as that says', async () => {
    vi.useFakeTimers({ now, toFake: ['Date'] })
    const sign = awsSignature('us-east-1', 'service', credentials)
    expect(await fieldsOf(sign, 'https://example.amazonaws.com/', { method: 'GET' })).toEqual({
      'x-amz-date': '20150830T123600Z',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
    })
  })

  it("signs ids and ARNs of models, encoded once more, as Amazon's own implementation does", async () => {
    vi.useFakeTimers({ now, toFake: ['Date'] })
    const official = new SignatureV4({
      credentials: { ...credentials, sessionToken: 'token' },
      region: 'eu-west-1',
      service: 'bedrock',
      sha256: Sha256,
      applyChecksum: false,
    })
    const sign = awsSignature('eu-west-1', 'bedrock', { ...credentials, sessionToken: 'token' })
    const id = fc.string({
      unit: fc.constantFrom(...'abcXYZ019._-:/'),
      minLength: 1,
      maxLength: 40,
    })
    await fc.assert(
      fc.asyncProperty(id, fc.string({ unit: 'grapheme' }), async (model, text) => {
        const path = `/model/${encodeURIComponent(model)}/converse`
        const body = JSON.stringify({ text })
        const { authorization } = await fieldsOf(sign, `https://h.example:8443${path}`, { method: 'POST', body })
        const expected = await official.sign(
          {
            method: 'POST',
            protocol: 'https:',
            hostname: '',
            path,
            query: {},
            headers: { host: 'h.example:8443' },
            body,
          },
          { signingDate: now },
        )
        expect(authorization).toBe(expected.headers['authorization'])
      }),
      { numRuns: 200, examples: [['anthropic.claude-3-haiku-20240307-v1:0', 'é 你好 🙂']] },
    )
  })

  it('tells what nobody may see', async () => {
    const sign = (more: object) => awsSignature('us-east-1', 'bedrock', { ...credentials, ...more })
    const request = { method: 'GET', path: '', accept: '' } as const
    expect((await sign({})(request, 'https://h.example/')).secret).toBe('AKIDEXAMPLE')
    expect((await sign({ sessionToken: 'tok' })(request, 'https://h.example/')).secret).toBe('tok')
  })
})
