import onnxProto from 'onnx-proto'

const { onnx } = onnxProto
export const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** Written into each file: IR 8 and operator set 15 are what every ONNX Runtime since 1.10 reads. */
const IR_VERSION = 8
const OPERATOR_SET = 15

type Shape = readonly (number | string)[]

export function value(name: string, elemType: number, shape: Shape) {
  const dim = shape.map((size) => (typeof size === 'string' ? { dimParam: size } : { dimValue: size }))
  return { name, type: { tensorType: { elemType, shape: { dim } } } }
}

export function constant(name: string, dataType: number, dims: readonly number[], data: ArrayBufferView) {
  return { name, dataType, dims: [...dims], rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}

export function node(
  opType: string,
  input: string[],
  output: string,
  attributes: Readonly<Record<string, number>> = {},
) {
  const attribute = Object.entries(attributes).map(([name, i]) => ({ name, i, type: AttributeType.INT }))
  return { opType, name: output, input, output: [output], attribute }
}

export function encode(graph: object): Uint8Array {
  const model = {
    irVersion: IR_VERSION,
    producerName: 'tollgate',
    opsetImport: [{ domain: '', version: OPERATOR_SET }],
    graph,
  }
  const wrong = onnx.ModelProto.verify(model)
  if (wrong !== null) throw new Error(`The graph is not a valid ONNX model: ${wrong}`)
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish()
}

export interface SparseSoftmaxGraph {
  readonly name: string
  readonly features: number
  readonly classes: number
  /** features × classes, one byte each. */
  readonly table: Int8Array
  /** What one step of a class's bytes is worth. */
  readonly scales: Float32Array
}

/**
 * A softmax over sparse features: the rows of the table named by `ids` (int32 [N, L]), summed with `weights` (float32 [N, L]).
 * A row with fewer than L features is filled up with id 0 at weight 0, which adds nothing.
 */
export function sparseSoftmaxGraph({ name, features, classes, table, scales }: SparseSoftmaxGraph): Uint8Array {
  return encode({
    name,
    input: [value('ids', DataType.INT32, ['N', 'L']), value('weights', DataType.FLOAT, ['N', 'L'])],
    output: [value('probabilities', DataType.FLOAT, ['N', classes])],
    initializer: [
      constant('table', DataType.INT8, [features, classes], table),
      constant('scales', DataType.FLOAT, [classes], scales),
      constant('middle', DataType.INT64, [1], BigInt64Array.of(1n)),
    ],
    node: [
      node('Gather', ['table', 'ids'], 'rows', { axis: 0 }),
      node('Cast', ['rows'], 'floats', { to: DataType.FLOAT }),
      node('Unsqueeze', ['weights', 'middle'], 'lines'),
      node('MatMul', ['lines', 'floats'], 'sums'),
      node('Squeeze', ['sums', 'middle'], 'steps'),
      node('Mul', ['steps', 'scales'], 'logits'),
      node('Softmax', ['logits'], 'probabilities', { axis: 1 }),
    ],
  })
}

export interface DenseSoftmaxGraph {
  readonly name: string
  readonly features: number
  readonly classes: number
  /** features × classes. */
  readonly weights: Float32Array
  readonly bias: Float32Array
}

/** A softmax over `features` (float32 [N, features]). */
export function denseSoftmaxGraph({ name, features, classes, weights, bias }: DenseSoftmaxGraph): Uint8Array {
  return encode({
    name,
    input: [value('features', DataType.FLOAT, ['N', features])],
    output: [value('probabilities', DataType.FLOAT, ['N', classes])],
    initializer: [
      constant('table', DataType.FLOAT, [features, classes], weights),
      constant('bias', DataType.FLOAT, [classes], bias),
    ],
    node: [
      node('Gemm', ['features', 'table', 'bias'], 'logits'),
      node('Softmax', ['logits'], 'probabilities', { axis: 1 }),
    ],
  })
}
