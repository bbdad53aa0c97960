"""Why OpenVINO's integers differ where layers are added: it leaves out a quantization.

    python tests/onnxruntime/openvino_sums.py student-int8.onnx

Takes an exported int8 network and a copy of it in which each sum reads one convolution directly, without
that convolution's QuantizeLinear and DequantizeLinear. Prints which share of ONNX Runtime's answers (with
nothing fused) to 200 random inputs OpenVINO gives, for the network and for the copy.

Needs onnxruntime, openvino, onnx and numpy.
"""

import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import openvino

SAMPLES = 200


def without_quantization(model):
    """Lets each sum read one convolution's own output; says how many did."""
    graph, found = model.graph, 0
    made_by = {output: node for node in graph.node for output in node.output}
    reads = [name for node in graph.node for name in node.input]
    for node in graph.node:
        for index, name in enumerate(node.input if node.op_type == "Add" else []):
            back = made_by.get(name)
            forth = made_by.get(back.input[0]) if back else None
            conv = made_by.get(forth.input[0]) if forth else None
            if conv is not None and conv.op_type == "Conv" and reads.count(name) == 1:
                node.input[index] = forth.input[0]
                found += 1
                break
    return found


def onnx_runtime(path, inputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x})[0].ravel() for x in inputs])


def openvino_answers(path, inputs):
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(path, "CPU")
    return np.concatenate([model(x)[0].ravel() for x in inputs])


def main():
    path = sys.argv[1]
    model = onnx.load(path)
    dims = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(dims).astype(np.float32) for _ in range(SAMPLES)]
    found = without_quantization(model)
    with tempfile.TemporaryDirectory() as folder:
        copy = str(pathlib.Path(folder) / "copy.onnx")
        onnx.save(model, copy)
        wanted = openvino_answers(path, inputs)
        for name, file in (("the network", path), (f"without {found} quantizations", copy)):
            same = np.abs(onnx_runtime(file, inputs) - wanted) < 1e-6
            print(f"{name}: {same.mean():.2%} of OpenVINO's answers")


main()
