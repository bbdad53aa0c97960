"""Compares hipflask's int8 with ONNX Runtime's static quantization of the same float network.

The f32 student and the recipe that names its samples:

    python tests/onnxruntime/quantize_static.py target/release/hipflask out/fashion/student-f32.safetensors \\
        examples/fashion-dscnn.toml

For each seed, 512 training samples calibrate: hipflask as `quantize` does it and with `--max-drop 0.1`,
ONNX Runtime's `quantize_static` by min-max, entropy and percentile, QDQ with weights per channel. Each
int8 network then answers all test samples (at most 10000): hipflask's by its runtime, ONNX Runtime's by
ONNX Runtime. Prints a row of a Markdown table: accuracy in %, mean and standard deviation over the seeds,
and the share of samples with the float network's class. The latter is the finer measure: accuracy also
moves where int8 is right by luck.

Needs onnxruntime, onnx, numpy and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import tomllib

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization
from safetensors.numpy import load_file

METHODS = {
    "min-max": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}
POOL, CALIBRATE, TEST = 4096, 512, 10000


class Reader(quantization.CalibrationDataReader):
    """Hands samples to onnxruntime's quantizer."""

    def __init__(self, name, samples):
        self.rest = iter([{name: x[None]} for x in samples])

    def get_next(self):
        return next(self.rest, None)


class Study:
    """One float network and its samples."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.onnx = folder / "f32.onnx"
        self.run("export", args.model, "--out", self.onnx)
        self.prepared = folder / "prepared.onnx"
        quantization.shape_inference.quant_pre_process(
            self.onnx, self.prepared, skip_symbolic_shape=True)
        self.test, self.labels = self.samples(TEST)
        self.float = self.classes(self.onnx)
        train = tomllib.loads(pathlib.Path(args.recipe).read_text())["data"]["train"]
        self.pool, _ = self.samples(POOL, "--set", f"data.test={json.dumps(train)}")

    def run(self, *args):
        done = subprocess.run([self.args.program, *map(str, args)], capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(map(str, args))}: {done.stderr}")
        return done.stdout

    def samples(self, count, *sets):
        """Preprocessed samples as the ONNX file takes them, and their labels."""
        out = self.folder / "golden"
        self.run("bundle", self.args.model, "--data", self.args.recipe, *sets, "--samples", count,
                 "--out", out, "-q")
        golden = load_file(out / "golden.safetensors")
        shape = onnx.load(self.onnx).graph.input[0].type.tensor_type.shape.dim[1:]
        dims = [d.dim_value for d in shape]
        inputs = golden["inputs"]
        if len(dims) == 3:
            c, h, w = dims
            inputs = inputs.reshape(-1, h, w, c).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(inputs.reshape(-1, *dims)), golden["labels"]

    def classes(self, path):
        """Of a file by ONNX Runtime."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return np.array([session.run(None, {name: x[None]})[0].argmax() for x in self.test])

    def hipflask(self, seed, *options):
        """Accuracy and agreement in % of hipflask's int8, by its runtime."""
        out = self.folder / "ours"
        self.run("quantize", self.args.model, "--data", self.args.recipe, "--to", "int8", "--seed", seed,
                 "--calibrate", CALIBRATE, "--out", out, *options, "-q")
        stem = self.args.model.stem.removesuffix("-f32")
        report = json.loads(self.run("validate", out / f"{stem}-int8.safetensors", "--data",
                                     self.args.recipe, "--teacher", self.args.model, "--json"))
        found = report["students"]["int8"]
        return found["accuracy"] * 100, found["agreement"] * 100

    def onnxruntime(self, seed, method):
        """Accuracy and agreement in % of ONNX Runtime's int8."""
        chosen = np.random.default_rng(seed).choice(len(self.pool), CALIBRATE, replace=False)
        out = self.folder / "theirs.onnx"
        name = onnx.load(self.onnx).graph.input[0].name
        quantization.quantize_static(
            self.prepared, out, Reader(name, self.pool[chosen]),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
            calibrate_method=METHODS[method])
        found = self.classes(out)
        return np.mean(found == self.labels) * 100, np.mean(found == self.float) * 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        study = Study(args, pathlib.Path(temporary))
        ways = {
            "hipflask": study.hipflask,
            "hipflask, ladder to 0.1": lambda seed: study.hipflask(seed, "--max-drop", "0.1"),
        }
        for method in METHODS:
            ways[f"ONNX Runtime, {method}"] = lambda seed, m=method: study.onnxruntime(seed, m)
        cells = [f"{np.mean(study.float == study.labels) * 100:.2f}"]
        for way in ways.values():
            accuracy, agreement = np.array([way(seed) for seed in range(1, args.seeds + 1)]).T
            deviation = np.std(accuracy, ddof=1) if args.seeds > 1 else 0
            cells.append(f"{np.mean(accuracy):.2f} ± {deviation:.2f} ({np.mean(agreement):.2f})")
        print("| network | f32 |", " | ".join(ways), "|")
        print("|---|---|" + "---|" * len(ways))
        print(f"| {args.model.parent.name or args.model.stem} |", " | ".join(cells), "|")


main()
