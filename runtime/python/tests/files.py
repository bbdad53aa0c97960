"""Reads and writes the files of tests without hipflask: safetensors by its specification."""

import json
import struct
from pathlib import Path

import numpy

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


def tensors(path):
    """The f32 tensors of a file by name."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            values = numpy.frombuffer(data[8 + length + start : 8 + length + end], "<f4")
            found[name] = values.reshape(entry["shape"])
    return found


def model(values, nodes, **more):
    """The bytes of a model without weights: (name, shape, dtype) of each value, (op, inputs, output) of each node."""
    quant = {"scale": 0.5, "zero_point": 0}
    graph = {
        "version": 1,
        "name": "made",
        "layout": "nhwc",
        "inputs": [0],
        "outputs": [len(values) - 1],
        "card": {},
        "values": [
            {"name": name, "shape": shape, "dtype": dtype} | ({"quant": quant} if dtype == "I8" else {})
            for name, shape, dtype in values
        ],
        "nodes": [
            {"name": values[output][0], "op": {"kind": op}, "inputs": inputs, "output": output}
            for op, inputs, output in nodes
        ],
    } | more
    header = json.dumps({"__metadata__": {"hipflask": json.dumps(graph)}}).encode()
    header += b" " * (-(len(header) + 8) % 64)
    return struct.pack("<Q", len(header)) + header


def mean_model(height, width, **more):
    """The mean of one channel."""
    values = [("image", [1, height, width, 1], "F32"), ("mean", [1, 1, 1, 1], "F32")]
    return model(values, [("global-avg-pool", [0], 1)], **more)
