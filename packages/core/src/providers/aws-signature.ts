import { AwsV4Signer } from 'aws4fetch'
import { type AwsCredentialSource, keptCredentials } from './aws-credentials.js'
import type { Credentials, Proof } from './http-kit.js'

/** Signing keys: one for a day and its credentials. */
const mostKeys = 16

/** AWS Signature Version 4: the signature of each request, with its whole body. The path is signed as it is sent, encoded once more, as all services but S3 want it. */
export function awsSignature(region: string, service: string, source: AwsCredentialSource): Credentials {
  const credentials = keptCredentials(source)
  const cache = new Map<string, ArrayBuffer>()
  return async ({ method, body }, url): Promise<Proof> => {
    const { accessKeyId, secretAccessKey, sessionToken } = await credentials()
    if (cache.size > mostKeys) cache.clear()
    const token = sessionToken === undefined ? undefined : { sessionToken }
    const sent = body === undefined ? undefined : { body }
    const signer = new AwsV4Signer({
      method,
      url,
      ...sent,
      accessKeyId,
      secretAccessKey,
      ...token,
      region,
      service,
      cache,
    })
    const { headers } = await signer.sign()
    return { headers: [...headers].flat(), secret: sessionToken ?? accessKeyId }
  }
}
