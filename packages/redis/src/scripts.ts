import { createHash } from 'node:crypto'

/** How scripts are run: by whichever client, in whichever version. Both resolve with the script's reply and reject with Redis's error. */
export interface RedisScripts {
  evalsha(sha1: string, keys: readonly string[], args: readonly string[]): Promise<unknown>
  eval(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown>
}

/** What is used of `ioredis` 4 or later, a `Cluster` of it too. */
export interface IoRedisLike {
  evalsha(sha1: string, numberOfKeys: number, ...keysAndArgs: string[]): Promise<unknown>
  eval(script: string, numberOfKeys: number, ...keysAndArgs: string[]): Promise<unknown>
}

/** What is used of `redis` 4 or later, a cluster of it too. */
export interface NodeRedisLike {
  evalSha(sha1: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

export type RedisClient = IoRedisLike | NodeRedisLike | { readonly scripts: RedisScripts }

/** The client as one that runs scripts. */
function scriptsOf(client: RedisClient): RedisScripts {
  if ('scripts' in client) return client.scripts
  if ('evalSha' in client) {
    return {
      evalsha: (sha1, keys, args) => client.evalSha(sha1, { keys: [...keys], arguments: [...args] }),
      eval: (script, keys, args) => client.eval(script, { keys: [...keys], arguments: [...args] }),
    }
  }
  return {
    evalsha: (sha1, keys, args) => client.evalsha(sha1, keys.length, ...keys, ...args),
    eval: (script, keys, args) => client.eval(script, keys.length, ...keys, ...args),
  }
}

/** Does the client say that it is one of a cluster? `ioredis` by a flag; that of `redis` has a list of masters. */
export function isCluster(client: RedisClient): boolean {
  return (client as { isCluster?: unknown }).isCluster === true || 'masters' in client
}

/** Runs one script by its digest; the whole of it is sent only where Redis does not have it (`NOSCRIPT`), as nothing was done then. */
export function scriptRunner(client: RedisClient, script: string) {
  const scripts = scriptsOf(client)
  const sha1 = createHash('sha1').update(script).digest('hex')
  return async (keys: readonly string[], args: readonly string[]): Promise<unknown> => {
    try {
      return await scripts.evalsha(sha1, keys, args)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return scripts.eval(script, keys, args)
    }
  }
}
