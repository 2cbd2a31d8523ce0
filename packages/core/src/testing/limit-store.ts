import type { LimitStore } from '../stores/limit-store.js'
import type { LimitStoreCase } from './limit-store-case.js'
import { claimCases } from './limit-store-claims.js'
import { kindCases } from './limit-store-kinds.js'
import { reservationCases } from './limit-store-reservations.js'

export type { LimitStoreCase } from './limit-store-case.js'

/**
 * The contract of {@link LimitStore} as plain data, for any test runner.
 *
 * @example for (const { name, run } of limitStoreCases) it(name, () => run(() => memoryLimitStore()))
 */
export const limitStoreCases: readonly LimitStoreCase[] = [...kindCases, ...claimCases, ...reservationCases]
