/** A featurizer for the iris model: the text is four numbers. Some texts bring real faults on the worker thread. */
export function prepare(texts: readonly string[]) {
  for (const text of texts) {
    if (text === 'exit') process.exit(7)
    if (text === 'throw later') setImmediate(() => Promise.reject(new Error('a fault nobody catches')))
    if (text === 'throw later') return new Promise(() => {})
    if (text === 'throw') throw new Error('a fault in the featurizer')
  }
  const numbers = texts.flatMap((text) => text.split(' ').map(Number))
  return {
    features: {
      type: 'float32',
      data: Float32Array.from(numbers),
      dims: [texts.length, numbers.length / texts.length],
    },
  }
}
