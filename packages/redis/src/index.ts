export { type RedisLimitStoreOptions, redisLimitStore } from './redis-limit-store.js'
export type { IoRedisLike, NodeRedisLike, RedisClient, RedisScripts } from './scripts.js'
