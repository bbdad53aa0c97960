"""One class an engine: `run(count)` gives the nanoseconds of each inference, `answer(x)` its output.

Every engine computes on one thread, with its input in place before the timed part. LiteRT's int8
models, and hipflask's unless HIPFLASK_INPUT=f32, take int8; the others quantize f32 inside it.
"""

import ctypes
import glob
import importlib.util
import os
import subprocess
import tempfile
import time

import numpy as np


def timed(infer, count):
    clock, times = time.perf_counter_ns, []
    for _ in range(count):
        start = clock()
        infer()
        times.append(clock() - start)
    return times


class OnnxRuntime:
    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            f"{path}.onnx", options, providers=["CPUExecutionProvider"])
        x, y = self.session.get_inputs()[0], self.session.get_outputs()[0]
        self.x = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(x.shape, "f4"))
        self.y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(y.shape, "f4"))
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input(x.name, self.x)
        self.binding.bind_ortvalue_output(y.name, self.y)

    def infer(self):
        # The wrapper in Python would cost as much as a small network.
        self.session._sess.run_with_iobinding(self.binding._iobinding, None)

    def run(self, count):
        return timed(self.infer, count)

    def answer(self, x):
        self.x.update_inplace(x)
        self.infer()
        return self.y.numpy().ravel().copy()


class LiteRt:
    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(f"{path}.tflite", num_threads=1)
        self.interpreter.allocate_tensors()

    def run(self, count):
        return timed(self.interpreter._interpreter.Invoke, count)

    def answer(self, x):
        into, out = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        if x.ndim == 4:
            x = x.transpose(0, 2, 3, 1)
        if into["dtype"] == np.int8:
            scale, zero = into["quantization"]
            x = np.clip(np.round(x / scale) + zero, -128, 127).astype("i1")
        self.interpreter.set_tensor(into["index"], x)
        self.interpreter.invoke()
        y = self.interpreter.get_tensor(out["index"]).ravel()
        if out["dtype"] == np.int8:
            scale, zero = out["quantization"]
            y = (y.astype("f4") - zero) * np.float32(scale)
        return y


class OpenVino:
    """By its C interface: the Python one converts its arguments inside the timed part."""

    SETTINGS = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}

    def __init__(self, path):
        package = os.path.dirname(importlib.util.find_spec("openvino").origin)
        self.lib = ctypes.CDLL(glob.glob(f"{package}/libs/libopenvino_c.so*")[0])
        core, model, compiled, self.request, self.input = (ctypes.c_void_p() for _ in range(5))
        self.call("core_create", ctypes.byref(core))
        self.call("core_read_model", core, f"{path}.onnx".encode(), None, ctypes.byref(model))
        settings = [ctypes.c_char_p(s.encode()) for pair in self.SETTINGS.items() for s in pair]
        self.call("core_compile_model", core, model, b"CPU", ctypes.c_size_t(len(settings)),
                  ctypes.byref(compiled), *settings)
        self.call("compiled_model_create_infer_request", compiled, ctypes.byref(self.request))
        self.call("infer_request_get_input_tensor", self.request, ctypes.byref(self.input))

    def call(self, name, *arguments):
        if status := getattr(self.lib, f"ov_{name}")(*arguments):
            raise RuntimeError(f"ov_{name}: status {status}")

    def run(self, count):
        infer = self.lib.ov_infer_request_infer
        return timed(lambda: infer(self.request), count)

    def floats(self, tensor):
        size, data = ctypes.c_size_t(), ctypes.c_void_p()
        self.call("tensor_get_size", tensor, ctypes.byref(size))
        self.call("tensor_data", tensor, ctypes.byref(data))
        return np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), (size.value,))

    def answer(self, x):
        self.floats(self.input)[:] = x.ravel()
        self.call("infer_request_infer", self.request)
        output = ctypes.c_void_p()
        self.call("infer_request_get_output_tensor", self.request, ctypes.byref(output))
        return self.floats(output).copy()


class Hipflask:
    """`hipflask-peer`, which times itself."""

    PROGRAM = os.environ.get("HIPFLASK_PEER", "target/release/hipflask-peer")

    def __init__(self, path):
        self.process = subprocess.Popen([self.PROGRAM, f"{path}.safetensors"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.PROGRAM} ended with code {self.process.wait()}")
        return line

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def run(self, count):
        return [int(time) for time in self.ask(f"run {count}").split()]

    def answer(self, x):
        with tempfile.TemporaryDirectory() as folder:
            x.tofile(f"{folder}/x")
            self.ask(f"out {folder}/x {folder}/y")
            return np.fromfile(f"{folder}/y", "f4")


ENGINES = {"onnxruntime": OnnxRuntime, "litert": LiteRt, "openvino": OpenVino, "hipflask": Hipflask}
