"""Times hipflask beside other runtimes: the same networks, batch 1, one core. See README.md."""

import argparse
import os
import random
import statistics
import subprocess
import sys

import numpy as np

import formats
from engines import ENGINES, Hipflask
from networks import NETWORKS


def main():
    options = arguments()
    os.makedirs(options.folder, exist_ok=True)
    print("| network | format | " + " | ".join(options.engines) + " | hipflask / best other |")
    print("|---" * (len(options.engines) + 3) + "|")
    notes = []
    for name in options.networks:
        net = NETWORKS[name]()
        sample = net.samples(1, seed=123)[0]
        prepare(net, options.folder)
        wanted = ENGINES["onnxruntime"](f"{options.folder}/{name}.f32").answer(sample)
        for kind in options.formats:
            engines = opened(f"{options.folder}/{name}.{kind}", options.engines)
            times = slices(engines, options)
            cells = [f"{times[e]:.1f}" if e in times else "fails" for e in options.engines]
            others = [time for engine, time in times.items() if engine != "hipflask"]
            ratio = f"{times['hipflask'] / min(others):.2f}" if others and "hipflask" in times else ""
            print(f"| {name} | {kind} | " + " | ".join(cells) + f" | {ratio} |", flush=True)
            differences = {
                engine: np.abs(session.answer(sample) - wanted).max() / np.ptp(wanted)
                for engine, session in engines.items()
            }
            notes.append((name, kind, differences))
    print("\nMicroseconds: the median of the best of", options.rounds, "slices.")
    print("\nLargest difference from onnxruntime's f32, as a share of the span of its outputs:\n")
    print("| network | format | " + " | ".join(options.engines) + " |")
    print("|---" * (len(options.engines) + 2) + "|")
    for name, kind, found in notes:
        cells = [f"{found[e]:.1e}" if e in found else "fails" for e in options.engines]
        print(f"| {name} | {kind} | " + " | ".join(cells) + " |")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)

    def listed(flag, values, text):
        parser.add_argument(flag, type=lambda t: t.split(","), default=list(values), help=text)

    listed("--networks", NETWORKS, "default: " + ",".join(NETWORKS))
    listed("--formats", ["f32", "int8"], "default: f32,int8")
    listed("--engines", ENGINES, "default: " + ",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=15, help="slices for each engine")
    parser.add_argument("--slice-ms", type=float, default=20, help="length of a slice")
    parser.add_argument("--folder", default="target/peers", help="where the models lie")
    return parser.parse_args()


def prepare(net, folder):
    """Makes the network's files where they are not there, and hipflask's anew."""
    if not os.path.exists(f"{folder}/{net.name}.int8.tflite"):
        formats.write(net, folder)
    converter = os.path.join(os.path.dirname(Hipflask.PROGRAM), "hipflask-peer-convert")
    subprocess.run([converter, folder], check=True, stdout=subprocess.DEVNULL)


def opened(path, names):
    """The engines that can open the model; the others' reasons go to stderr."""
    engines = {}
    for name in names:
        try:
            engines[name] = ENGINES[name](path)
            engines[name].run(3)
        except Exception as error:  # each engine has its own kinds
            print(f"{path}: {name}: {error}", file=sys.stderr)
            engines.pop(name, None)
    return engines


def slices(engines, options):
    """Microseconds of each engine: they take turns in random order, so that all see the same machine."""
    counts = {}
    for name, engine in engines.items():
        fastest = min(engine.run(3))
        counts[name] = int(np.clip(options.slice_ms * 1e6 / max(fastest, 1), 3, 20_000))
        engine.run(counts[name])
    medians = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name in random.sample(list(engines), len(engines)):
            times = engines[name].run(counts[name])
            medians[name].append(statistics.median(times) / 1e3)
    return {name: min(times) for name, times in medians.items()}


if __name__ == "__main__":
    main()
