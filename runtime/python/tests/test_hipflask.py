"""The module against the runtime's golden files, which were recorded on another machine."""

import json
import os
import struct
import sys
import tempfile
import threading
import unittest
import zlib
from pathlib import Path

import numpy

import hipflask
from files import GOLDEN, mean_model, model, tensors


class Golden(unittest.TestCase):
    def test_every_network_gives_the_recorded_bits(self):
        names = sorted(path.name.removesuffix(".golden.safetensors") for path in GOLDEN.glob("*.golden.safetensors"))
        self.assertGreater(len(names), 5)
        for name in names:
            recorded = tensors(GOLDEN / f"{name}.golden.safetensors")
            for options in [{}, {"threads": 2}, {"isa": "scalar"}]:
                opened = hipflask.Model.open(GOLDEN / f"{name}.safetensors", **options)
                shape = opened.inputs[0].shape
                for sample, wanted in zip(recorded["inputs"], recorded["outputs"], strict=True):
                    for found in [opened.run(sample.reshape(shape)), opened.run(sample.reshape(shape[1:]))]:
                        self.assertEqual(found.shape, tuple(opened.outputs[0].shape))
                        self.assertEqual(found.dtype, numpy.float32)
                        self.assertEqual(found.tobytes(), wanted.tobytes(), name)

    def test_threads_of_python_get_the_same_bits_from_one_model_and_from_copies(self):
        recorded = tensors(GOLDEN / "residual.golden.safetensors")
        shared = hipflask.Model.open(GOLDEN / "residual.safetensors")
        failures = []

        def work(own):
            for _ in range(20):
                for sample, wanted in zip(recorded["inputs"], recorded["outputs"]):
                    if own.run(sample.reshape(own.inputs[0].shape)).tobytes() != wanted.tobytes():
                        failures.append(own)

        threads = [threading.Thread(target=work, args=(own,)) for own in [shared, shared, shared.copy(), shared.copy()]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_int8_values_go_in_and_come_out(self):
        made = hipflask.Model.from_bytes(model([("x", [1, 2, 3, 1], "I8"), ("y", [1, 6], "I8")], [("flatten", [0], 1)]))
        values = numpy.array([[-128, 1, 2], [3, 4, 127]], numpy.int8).reshape(1, 2, 3, 1)
        found = made.run(values)
        self.assertEqual((found.dtype, found.tolist()), (numpy.int8, [[-128, 1, 2, 3, 4, 127]]))
        self.assertEqual((made.inputs[0].dtype, made.outputs[0].shape), ("int8", [1, 6]))


def peak_during(run):
    """By how many bytes the process's memory grows at most while `run` runs (proc(5), clear_refs)."""
    status = Path("/proc/self/status")
    read = lambda key: next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key)) * 1024
    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS:")
    run()
    return read("VmHWM:") - before


class Memory(unittest.TestCase):
    @unittest.skipUnless(sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK), "needs Linux's /proc")
    def test_the_input_is_read_where_it_lies(self):
        side = 4096
        made = hipflask.Model.from_bytes(mean_model(side, side))
        image = numpy.full((side, side, 1), 0.25, numpy.float32)
        self.assertEqual(made.run(image).ravel().tolist(), [0.25])
        self.assertLess(peak_during(lambda: made.run(image)), image.nbytes // 4)
        # What a copy would look like.
        self.assertGreater(peak_during(lambda: made.run(image.copy())), image.nbytes // 2)
        self.assertGreaterEqual(made.arena_bytes, image.nbytes)

    def test_an_answer_stays_when_the_next_one_comes(self):
        made = hipflask.Model.from_bytes(mean_model(2, 2))
        first = made.run(numpy.ones((2, 2, 1), numpy.float32))
        made.run(numpy.zeros((2, 2, 1), numpy.float32))
        self.assertEqual(first.item(), 1.0)

    def test_other_threads_go_on_while_one_infers(self):
        made = hipflask.Model.from_bytes(mean_model(4096, 4096))
        image = numpy.ones((4096, 4096, 1), numpy.float32)
        done = threading.Event()

        def infer():
            for _ in range(10):
                made.run(image)
            done.set()

        # Python hands the interpreter over only when a thread gives it back or its interval, here an hour, is over.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(3600.0)
        try:
            thread = threading.Thread(target=infer)
            thread.start()
            went_on = not done.is_set()
            thread.join()
        finally:
            sys.setswitchinterval(interval)
        self.assertTrue(went_on)


class Refused(unittest.TestCase):
    def setUp(self):
        self.model = hipflask.Model.from_bytes(mean_model(2, 3))

    def refused(self, kind, words, call, *arguments, **options):
        with self.assertRaises(hipflask.Error) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.kind, kind)
        self.assertIn(words, str(caught.exception))

    def test_inputs_that_would_need_a_copy(self):
        run = self.model.run
        good = numpy.zeros((1, 2, 3, 1), numpy.float32)
        self.refused("input", 'input "image": has numbers of type float64, the model takes float32', run, good.astype(float))
        self.refused("input", "float32", run, good.astype(numpy.int8))
        self.refused("input", "float32", run, good.astype(">f4"))
        self.refused("input", "has shape [1, 3, 2, 1], the model takes [1, 2, 3, 1]", run, good.reshape(1, 3, 2, 1))
        self.refused("input", "is not contiguous", run, numpy.zeros((1, 2, 6, 1), numpy.float32)[:, :, ::2])
        self.refused("input", "is not contiguous", run, numpy.zeros((3, 2, 1), numpy.float32).transpose(1, 0, 2))
        self.refused("input", "is of type list, a numpy.ndarray is wanted", run, [0.0] * 6)
        odd = numpy.frombuffer(bytes(25), numpy.uint8)[1:].view(numpy.float32).reshape(2, 3, 1)
        self.refused("input", "is not aligned", run, odd)
        self.refused("input", "0 were given, the model takes 1", run)
        self.refused("input", "2 were given, the model takes 1", run, good, good)
        read_only = good.copy()
        read_only.flags.writeable = False
        self.assertEqual(run(read_only).item(), 0.0)

    def test_files_and_options(self):
        self.refused("io", "nowhere.safetensors: cannot be read", hipflask.Model.open, "nowhere.safetensors")
        self.refused("format", "", hipflask.Model.from_bytes, b"no model")
        self.refused("version", "update", hipflask.Model.from_bytes, mean_model(2, 2, version=2))
        path = GOLDEN / "mlp.safetensors"
        self.refused("input", "threads: 0", hipflask.Model.open, path, threads=0)
        self.refused("input", '"none"', hipflask.Model.open, path, isa="none")
        self.refused("input", "says nothing of its preprocessing", self.model.predict, b"1234")
        with self.assertRaises(TypeError):
            hipflask.Model.open(7)


def png(rows):
    """A grey picture (PNG specification)."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Predict(unittest.TestCase):
    def setUp(self):
        rule = {"kind": "image", "range": [0.0, 51.0], "mean": [1.0], "std": [1.0]}
        values = [("image", [1, 1, 3, 1], "F32"), ("scores", [1, 3], "F32")]
        card = {"task": "classification", "labels": ["left", "middle"]}
        made = model(values, [("flatten", [0], 1)], preprocess=rule, card=card)
        self.model = hipflask.Model.from_bytes(made)

    def test_files_become_inputs_by_the_models_own_rule(self):
        # A fifth of the byte, less 1.
        wanted = [{"index": 2, "label": "class 2", "score": 50.0}, {"index": 1, "label": "middle", "score": 19.0}]
        rows = [[0, 100, 255]]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "image.png"
            file.write_bytes(png(rows))
            for source in [file, str(file), png(rows), bytes(rows[0])]:
                self.assertEqual(self.model.predict(source, top=2), [{"top": wanted}])
            many = Path(folder) / "many.npy"
            numpy.save(many, numpy.array([rows, rows], numpy.uint8).reshape(2, 1, 3, 1))
            self.assertEqual([answer["at"] for answer in self.model.predict(many)], [0, 1])
            with self.assertRaisesRegex(hipflask.Error, "nothing.png: cannot be read"):
                self.model.predict(Path(folder) / "nothing.png")
        with self.assertRaisesRegex(hipflask.Error, "4 bytes of pixels, the model takes 3"):
            self.model.predict(b"1234")

    def test_a_model_says_what_it_is(self):
        self.assertEqual(self.model.labels, ["left", "middle"])
        self.assertEqual(self.model.card, {"task": "classification", "labels": ["left", "middle"]})
        self.assertEqual(self.model.preprocess["range"], [0.0, 51.0])
        self.assertEqual(repr(self.model.inputs[0]), 'Port(name="image", dtype="float32", shape=[1, 1, 3, 1])')
        self.assertEqual((self.model.threads, hipflask.Model.from_bytes(mean_model(2, 2)).labels), (1, []))
        self.assertIn('"made"', repr(self.model))
        scalar = hipflask.Model.open(GOLDEN / "mlp.safetensors", isa="scalar")
        self.assertEqual(scalar.isa, "scalar")
        self.assertGreater(scalar.arena_bytes, 131 * 4)
        self.assertGreaterEqual(scalar.scratch_bytes, 0)
        self.assertIsNone(scalar.preprocess)
        self.assertEqual(json.dumps(scalar.card), "{}")


if __name__ == "__main__":
    unittest.main()
