// Runs a hipflask model in a page, a worker or Node: one WebAssembly module, nothing else.

/** What the C interface (hipflask.h) calls an element type: how it is read and written. */
const TYPES = [Float32Array, Int8Array];
const PAGE = 65536;
/** Largest difference of a float model's outputs, as a share of the largest output. */
const FLOAT_TOLERANCE = 1e-4;

/** A model, ready to run. Not for two inferences at a time. */
export class Network {
  #c;
  #memory;
  #session;
  /** Memory of ours in the module: a word for answers, pointers to inputs, then the inputs. */
  #own = { at: 0, bytes: 0 };

  /** From the bytes of `hipflask.wasm` (or a compiled module) and of the model file. */
  static async load(wasm, model) {
    const loaded = await WebAssembly.instantiate(wasm, {});
    return new Network(loaded.instance ?? loaded, new Uint8Array(model));
  }

  constructor(instance, model) {
    this.#c = instance.exports;
    this.#memory = instance.exports.memory;
    const at = this.#reserve(8 + model.length);
    this.#bytes(at + 8, model.length).set(model);
    this.#call("hipflask_model_from_bytes", at + 8, model.length, at);
    const handle = this.#word(at);
    const label = (_, i) => this.#text(this.#c.hipflask_model_label(handle, i));
    /** Names of the classes; empty where the model has none. */
    this.labels = Array.from({ length: this.#c.hipflask_model_labels(handle) }, label);
    try {
      this.#call("hipflask_session_new", handle, 0, at);
    } finally {
      this.#c.hipflask_model_free(handle);
    }
    this.#session = this.#word(at);
    const ports = (count, describe) =>
      Array.from({ length: this.#c[count](this.#session) }, (_, i) => this.#port(describe, i));
    /** Name, shape, count of elements and array type of each input. */
    this.inputs = ports("hipflask_session_inputs", "hipflask_session_input");
    /** The same of each output. */
    this.outputs = ports("hipflask_session_outputs", "hipflask_session_output_port");
  }

  /** One inference: an array for each input, preprocessed; gives one for each output. */
  run(...inputs) {
    if (inputs.length !== this.inputs.length) {
      throw new Error(`${inputs.length} inputs were given, the network has ${this.inputs.length}`);
    }
    let next = 16 + 4 * inputs.length;
    const offsets = this.inputs.map(({ elements, type }) => {
      const offset = (next + 15) & ~15;
      next = offset + elements * type.BYTES_PER_ELEMENT;
      return offset;
    });
    const at = this.#reserve(next);
    this.inputs.forEach(({ name, elements, type }, i) => {
      if (inputs[i].length !== elements) {
        throw new Error(`input ${name}: ${inputs[i].length} values, it takes ${elements}`);
      }
      new type(this.#memory.buffer, at + offsets[i], elements).set(inputs[i]);
      new Uint32Array(this.#memory.buffer, at + 16 + 4 * i, 1)[0] = at + offsets[i];
    });
    this.#call("hipflask_session_run", this.#session, at + 16);
    return this.outputs.map(({ elements, type }, i) => {
      const data = this.#c.hipflask_session_output(this.#session, i);
      return new type(this.#memory.buffer, data, elements).slice();
    });
  }

  /** Gives the session's memory back to the module. The network is not used any more. */
  free() {
    this.#c.hipflask_session_free(this.#session);
    this.#session = 0;
  }

  /** Where at least `bytes` of ours begin, at a multiple of 16. The module's allocator never touches them. */
  #reserve(bytes) {
    if (bytes > this.#own.bytes) {
      const pages = Math.ceil(bytes / PAGE);
      this.#own = { at: this.#memory.grow(pages) * PAGE, bytes: pages * PAGE };
    }
    return this.#own.at;
  }

  #call(name, ...args) {
    if (this.#c[name](...args) !== 0) {
      throw new Error(this.#text(this.#c.hipflask_error()));
    }
  }

  #bytes(at, length) {
    return new Uint8Array(this.#memory.buffer, at, length);
  }

  #word(at) {
    return new DataView(this.#memory.buffer).getUint32(at, true);
  }

  #text(at) {
    const bytes = new Uint8Array(this.#memory.buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }

  /** HipflaskPort: name, element type, shape, rank, elements; each a word of four bytes. */
  #port(describe, index) {
    const at = this.#reserve(20);
    this.#call(describe, this.#session, index, at);
    const [name, type, shape, rank, elements] = [0, 4, 8, 12, 16].map((i) => this.#word(at + i));
    const sizes = Array.from({ length: rank }, (_, i) => this.#word(shape + 4 * i));
    return { name: this.#text(name), shape: sizes, elements, type: TYPES[type] };
  }
}

/** Tensors of a safetensors file by name, and what hipflask wrote into its header. */
function tensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const { __metadata__: metadata, ...entries } = header;
  const read = ([name, { dtype, shape, data_offsets: [from, to] }]) => {
    const type = { F32: Float32Array, I32: Int32Array }[dtype];
    // A copy, so that it is aligned.
    return [name, type && { shape, values: new type(bytes.slice(8 + length + from, 8 + length + to).buffer) }];
  };
  return { metadata: JSON.parse(metadata.hipflask), ...Object.fromEntries(Object.entries(entries).map(read)) };
}

const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
const bits = (values) => new Uint32Array(values.buffer, values.byteOffset, values.length);

/**
 * Runs the samples of a golden file: are the answers the recorded ones, to the bit for int8 models?
 * The names are those of `hipflask-run verify --json`; the inner values are not compared here.
 */
export function verify(network, golden) {
  const { metadata, inputs, outputs, teacher, labels } = tensors(new Uint8Array(golden));
  const row = ({ shape, values }, i) => values.subarray(i * shape[1], (i + 1) * shape[1]);
  const samples = inputs.shape[0];
  let [equal, agree, right, largest] = [0, 0, 0, 0];
  for (let i = 0; i < samples; i++) {
    const output = Float32Array.from(network.run(row(inputs, i))[0]);
    const wanted = row(outputs, i);
    const same = output.length === wanted.length && bits(output).every((b, j) => b === bits(wanted)[j]);
    const difference = wanted.reduce((most, v, j) => Math.max(most, Math.abs(v - output[j])), 0);
    const scale = wanted.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    equal += same || (!metadata.exact && difference <= FLOAT_TOLERANCE * scale);
    largest = Math.max(largest, difference);
    agree += teacher && argmax(row(teacher, i)) === argmax(output);
    right += labels && labels.values[i] === argmax(output);
  }
  return {
    samples,
    exact: metadata.exact,
    equal,
    largest_difference: largest,
    agreement: teacher ? agree / samples : null,
    accuracy: labels ? right / samples : null,
  };
}
