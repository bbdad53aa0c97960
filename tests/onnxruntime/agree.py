"""Compares hipflask with ONNX Runtime and OpenVINO: what it exports, and what it imports.

The folder of a run (student-f32.safetensors, student-int8.safetensors, …) and the recipe that made
it, which is left out for the built-in digits:

    hipflask ship --out out/digits
    python tests/onnxruntime/agree.py target/release/hipflask out/digits
    python tests/onnxruntime/agree.py target/release/hipflask out/fashion examples/fashion-dscnn.toml

Needs onnxruntime, onnx and numpy; openvino is used where it is installed.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime import quantization

try:
    import openvino
except ImportError:
    openvino = None

DTYPES = {"F32": np.float32, "I32": np.int32, "I8": np.int8}


def safetensors(path):
    """The tensors of a file by name."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        found[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


class Hipflask:
    """The program, with a recipe's samples."""

    def __init__(self, args, folder):
        self.program, self.folder = args.program, folder
        self.data = ["--data", args.recipe] if args.recipe else []
        self.samples = str(args.samples)

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], capture_output=True, text=True)
        if done.returncode == 2:
            raise SystemExit(f"{' '.join(map(str, args))}: {done.stderr}")
        return done

    def answers(self, model):
        """Preprocessed test samples, flat as `[h, w, c]`, and the model's exact outputs."""
        out = self.folder / f"{pathlib.Path(model).stem}-golden"
        self.run("bundle", model, *self.data, "--samples", self.samples, "--out", out, "-q")
        golden = safetensors(out / "golden.safetensors")
        return golden["inputs"], golden["outputs"]

    def export(self, model):
        out = self.folder / f"{pathlib.Path(model).stem}.onnx"
        self.run("export", model, "--out", out)
        onnx.checker.check_model(onnx.load(out), full_check=True)
        return out


def planar(path, inputs):
    """Samples as the file takes them, images `[c, h, w]`."""
    dims = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]]
    if len(dims) != 3:
        return inputs.reshape(-1, *dims)
    c, h, w = dims
    return np.ascontiguousarray(inputs.reshape(-1, h, w, c).transpose(0, 3, 1, 2))


def onnxruntime_answers(path, inputs, optimized=True):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in inputs])


def openvino_answers(path, inputs):
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(str(path), "CPU")
    return np.concatenate([model([x[None]])[0] for x in inputs])


def output_scale(path):
    """The step of the integers that the output is made of; None for a float network."""
    graph = onnx.load(path).graph
    last = next(n for n in graph.node if graph.output[0].name in n.output)
    if last.op_type != "DequantizeLinear":
        return None
    scale = next(t for t in graph.initializer if t.name == last.input[1])
    return float(numpy_helper.to_array(scale).reshape(()))


def compare(what, path, inputs, wanted):
    engines = {
        "ONNX Runtime": lambda: onnxruntime_answers(path, inputs),
        "ONNX Runtime, nothing fused": lambda: onnxruntime_answers(path, inputs, False),
    }
    if openvino:
        engines["OpenVINO"] = lambda: openvino_answers(path, inputs)
    inputs = planar(path, inputs)
    scale = output_scale(path)
    for engine, run in engines.items():
        found = run().reshape(wanted.shape)
        apart = np.abs(found.astype(np.float64) - wanted)
        same_class = np.mean(found.argmax(1) == wanted.argmax(1)) * 100
        if scale is None:
            span = wanted.max() - wanted.min()
            size = f"largest difference {apart.max() / span:.1e} of the span"
        else:
            steps = np.rint(apart / scale)
            size = f"{np.mean(steps == 0) * 100:.3f} % same integers, at most {steps.max():.0f} steps"
        print(f"{what:<32}{engine:<29}{size}; {same_class:.2f} % same class, {wanted.size} values")


class Reader(quantization.CalibrationDataReader):
    """Hands samples to onnxruntime's quantizer."""

    def __init__(self, name, samples):
        self.rest = iter([{name: x[None]} for x in samples])

    def get_next(self):
        return next(self.rest, None)


def quantized(source, inputs, activations, per_channel, folder):
    """`source` quantized by ONNX Runtime."""
    kind = "u8" if activations == quantization.QuantType.QUInt8 else "s8"
    out = folder / f"ort-{kind}-{'channel' if per_channel else 'tensor'}.onnx"
    prepared = folder / "prepared.onnx"
    quantization.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = onnx.load(source).graph.input[0].name
    quantization.quantize_static(
        prepared, out, Reader(name, planar(source, inputs)), quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel, activation_type=activations,
        weight_type=quantization.QuantType.QInt8)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--samples", type=int, default=360)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files that are made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True, parents=True)
        program = Hipflask(args, folder)
        for kind in ("f32", "f16", "int8"):
            model = args.run / f"student-{kind}.safetensors"
            inputs, wanted = program.answers(model)
            compare(f"exported {kind}", program.export(model), inputs, wanted)
        source = program.export(args.run / "student-f32.safetensors")
        for activations in (quantization.QuantType.QUInt8, quantization.QuantType.QInt8):
            for per_channel in (True, False):
                path = quantized(source, inputs[:64], activations, per_channel, folder)
                print(program.run("inspect", path, "--check").stdout.strip())
                program.run("quantize", path, "--to", "int8", *program.data, "-q")
                model = path.with_name(f"{path.stem}-int8.safetensors")
                _, wanted = program.answers(model)
                compare(f"imported {path.stem}", path, inputs, wanted)


main()
