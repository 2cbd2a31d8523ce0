import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { constant, DataType, encode, node, value } from '../scripts/onnx-graph.ts'
import type { WorkerInput, WorkerModel } from '../src/worker-protocol.js'

const WIDTH = 512
const LAYERS = 24

/** Writes a model whose run takes a while: rows × 24 layers of 512 × 512. */
export function writeHeavyModel(directory: string): WorkerModel {
  const layers = Array.from({ length: LAYERS }, (_, layer) => node('MatMul', [`x${layer}`, 'weights'], `x${layer + 1}`))
  const bytes = encode({
    name: 'heavy',
    input: [value('x0', DataType.FLOAT, ['N', WIDTH])],
    output: [value('sums', DataType.FLOAT, ['N', 1])],
    initializer: [
      constant('weights', DataType.FLOAT, [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH).fill(1 / WIDTH)),
      constant('axis', DataType.INT64, [1], BigInt64Array.of(1n)),
    ],
    node: [...layers, node('ReduceSum', [`x${LAYERS}`, 'axis'], 'sums', { keepdims: 1 })],
  })
  const file = join(directory, 'heavy.onnx')
  writeFileSync(file, bytes)
  return { key: 'heavy@1', file, inputs: ['x0'], outputs: ['sums'] }
}

/** Rows of ones. 2,048 of them keep a core busy for some hundred milliseconds. */
export function heavyInput(rows: number): WorkerInput {
  const data = new Float32Array(rows * WIDTH).fill(1)
  return { tensors: { x0: { type: 'float32', data, dims: [rows, WIDTH] } } }
}
