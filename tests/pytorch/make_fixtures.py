"""Writes the small PyTorch checkpoints that the teacher's tests read, without PyTorch.

Stand-ins for PyTorch's functions make Python's own pickle write what `torch.save` writes
(torch/serialization.py, torch/_utils.py). Run it from the root of the repository:

    python3 tests/pytorch/make_fixtures.py
"""

import collections
import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile

FOLDER = pathlib.Path("distill/src/teacher/checkpoint/fixtures")


def bf16(value):
    return struct.pack("<f", value)[2:]


PACK = {
    "FloatStorage": lambda v: struct.pack("<f", v),
    "DoubleStorage": lambda v: struct.pack("<d", v),
    "HalfStorage": lambda v: struct.pack("<e", v),
    "BFloat16Storage": bf16,
    "LongStorage": lambda v: struct.pack("<q", v),
}

torch = types.ModuleType("torch")
utils = types.ModuleType("torch._utils")
zoo = types.ModuleType("zoo")


def stand_in(module, name, value):
    value.__module__, value.__qualname__, value.__name__ = module.__name__, name, name
    setattr(module, name, value)
    return value


for kind in PACK:
    stand_in(torch, kind, type(kind, (), {}))
rebuild = stand_in(utils, "_rebuild_tensor_v2", lambda *args: None)
Net = stand_in(zoo, "Net", type("Net", (), {}))
sys.modules.update({"torch": torch, "torch._utils": utils, "zoo": zoo})


class Storage:
    def __init__(self, kind, values):
        self.kind, self.values = kind, values

    def bytes(self):
        return b"".join(PACK[self.kind](v) for v in self.values)


class Tensor:
    def __init__(self, storage, shape, strides, offset=0):
        self.args = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return rebuild, self.args


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        return ("storage", getattr(torch, obj.kind), key, "cpu", len(obj.values))


class LegacyPickler(Pickler):
    def persistent_id(self, obj):
        found = super().persistent_id(obj)
        return found and (*found, None)


def dump(obj, pickler=Pickler, protocol=2):
    file = io.BytesIO()
    writer = pickler(file, protocol)
    writer.dump(obj)
    return file.getvalue(), writer.storages


def save_zip(name, obj, protocol=2):
    data, storages = dump(obj, protocol=protocol)
    entries = {"data.pkl": data, "byteorder": b"little"}
    entries.update({f"data/{i}": storage.bytes() for i, storage in enumerate(storages)})
    entries["version"] = b"3\n"
    with zipfile.ZipFile(FOLDER / name, "w", zipfile.ZIP_STORED) as archive:
        for path, content in entries.items():
            # The date is fixed, so that the same fixtures are the same bytes.
            archive.writestr(zipfile.ZipInfo(f"archive/{path}"), content)


def save_legacy(name, obj):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}
    data, storages = dump(obj, LegacyPickler)
    keys = [str(i) for i in range(len(storages))]
    parts = [dump(o)[0] for o in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [data, dump(keys)[0]]
    for storage in storages:
        parts += [struct.pack("<q", len(storage.values)), storage.bytes()]
    (FOLDER / name).write_bytes(b"".join(parts))


def state_dict(prefix=""):
    """Of a 1×1 convolution to 2 channels, a batch norm and a linear layer of 3 rows."""
    shared = Storage("FloatStorage", [0.5, -0.5, 10.0, 20.0, 30.0])
    # Stored column by column: element (o, i) is 8·o + i.
    columns = Storage("FloatStorage", [8.0 * o + i for i in range(8) for o in range(3)])
    tensors = {
        "conv1.weight": Tensor(Storage("HalfStorage", [1.5, -2.0]), (2, 1, 1, 1), (1, 1, 1, 1)),
        "bn1.weight": Tensor(Storage("BFloat16Storage", [1.0, 2.5]), (2,), (1,)),
        "bn1.bias": Tensor(shared, (2,), (1,)),
        "bn1.running_mean": Tensor(Storage("FloatStorage", [0.25, 0.0]), (2,), (1,)),
        "bn1.running_var": Tensor(Storage("DoubleStorage", [1.0, 4.0]), (2,), (1,)),
        "bn1.num_batches_tracked": Tensor(Storage("LongStorage", [7]), (), ()),
        "fc.weight": Tensor(columns, (3, 8), (1, 3)),
        "fc.bias": Tensor(shared, (3,), (1,), offset=2),
    }
    state = collections.OrderedDict((prefix + name, t) for name, t in tensors.items())
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


FOLDER.mkdir(exist_ok=True)
save_zip("nested.pth", {"epoch": 3, "best": 0.5, "state_dict": state_dict("module.")})
save_zip("protocol4.pth", state_dict(), protocol=4)
save_legacy("legacy.th", {"best_prec1": 91.78, "model": state_dict()})
save_zip("empty.pth", {"state_dict": collections.OrderedDict(), "epoch": 3})
save_zip("whole.pth", Net())
