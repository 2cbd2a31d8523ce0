import { afterAll, beforeAll, describe, it } from 'vitest'
import { checkDuties } from '../src/duties.ts'
import { type Rig, startRig } from '../src/measure.ts'
import { base, compared } from '../src/subjects.ts'

// What `pnpm --filter @tollgate/bench bench --short` does. The assertions are in `checkDuties`; none of them is on time.
describe('subjects of the benchmark', () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await startRig()
  })
  afterAll(() => rig.stop())

  for (const subject of [base, ...compared]) {
    it(`${subject.name} does what it is timed for`, () => checkDuties(rig, subject))
  }
})
