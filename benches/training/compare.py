#!/usr/bin/env python3
"""Training steps of hipflask and of PyTorch in turn, in one run: images/s and their ratio.

  python3 -m venv target/torch-venv && target/torch-venv/bin/pip install torch numpy
  cargo build --release --workspace --bin hipflask-train-step
  target/torch-venv/bin/python benches/training/compare.py --threads 1 2

A step is forward, cross-entropy, backward and Adam at 1e-3 on random images that stay in place. Each
side is a process of its own; the two take turns, and the best median of a turn counts.
"""
import argparse
import os
import random
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODELS = ["mlp", "resnet8", "dscnn", "lenet", "vit"]


def network(name):
    """The PyTorch module, its input shape and the batch: the networks of hipflask's catalogue."""
    from torch import nn
    from torch.nn import functional as F

    def conv(inputs, outputs, kernel, stride=1, groups=1, relu=True):
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))

    class Residual(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.body = nn.Sequential(
                conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, relu=False)
            )
            same = inputs == outputs and stride == 1
            self.skip = nn.Identity() if same else conv(inputs, outputs, 1, stride, relu=False)

        def forward(self, x):
            return F.relu(self.body(x) + self.skip(x))

    class Layer(nn.Module):
        """Of a transformer: norms first, tanh GELU."""

        def __init__(self, width=64, heads=4):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            n, tokens, width = x.shape
            parts = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            x = x + self.out(y.reshape(n, tokens, width))
            return x + self.mlp(self.norm2(x))

    class Vit(nn.Module):
        """4×4 patches of 28×28."""

        def __init__(self, width=64):
            super().__init__()
            import torch

            self.patch = nn.Conv2d(1, width, 4, 4)
            self.position = nn.Parameter(torch.zeros(1, 49, width))
            self.layers = nn.Sequential(*[Layer(width) for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2) + self.position
            return self.head(self.norm(self.layers(x)).mean(1))

    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    builders = {
        "mlp": lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)
        ),
        "resnet8": lambda: nn.Sequential(
            conv(3, 16, 3), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2),
            *pooled, nn.Linear(64, 10),
        ),
        "dscnn": lambda: nn.Sequential(
            conv(1, 64, 3, 2),
            *[layer for _ in range(4) for layer in (conv(64, 64, 3, groups=64), conv(64, 64, 1))],
            *pooled, nn.Linear(64, 10),
        ),
        "lenet": lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        ),
        "vit": Vit,
    }
    shape = (3, 32, 32) if name == "resnet8" else (1, 28, 28)
    return builders[name](), shape, 128 if name == "mlp" else 64


def serve(name, threads):
    """PyTorch's side of the protocol that hipflask-train-step speaks."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, shape, batch = network(name)
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-3)
    images, labels = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()
    print("ready", batch, sum(p.numel() for p in model.parameters()), flush=True)
    for line in sys.stdin:
        if not line.startswith("run "):
            break
        times = []
        for _ in range(int(line[4:])):
            start = time.perf_counter_ns()
            step()
            times.append(time.perf_counter_ns() - start)
        print(*times, flush=True)


class Side:
    """One process, and the best median of its turns in nanoseconds."""

    def __init__(self, command, threads):
        limits = {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **limits},
        )
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            sys.exit(f"{command[0]} did not start")
        self.batch, self.parameters = int(words[1]), int(words[2])
        self.best = float("inf")
        self.steps = max(1, min(1000, int(4e8 / self.run(2)[-1])))

    def run(self, steps):
        self.process.stdin.write(f"run {steps}\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]

    def turn(self):
        self.best = min(self.best, statistics.median(self.run(self.steps)))

    def images_per_second(self):
        return self.batch / self.best * 1e9

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(l.split()[1]) for l in status if l.startswith("VmHWM")) / 1024

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", nargs=2, metavar=("MODEL", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve[0], int(args.serve[1]))
    ours = os.path.join(ROOT, "target", "release", "hipflask-train-step")
    if not os.path.exists(ours):
        sys.exit(f"{ours} is not there: cargo build --release --workspace --bin hipflask-train-step")
    print("| network | threads | PyTorch | hipflask | ratio | MiB PyTorch | MiB hipflask |")
    print("|---|---|---|---|---|---|---|")
    for model in args.models:
        for threads in args.threads:
            torch = [sys.executable, os.path.abspath(__file__), "--serve", model, str(threads)]
            sides = [Side(torch, threads), Side([ours, model, str(threads)], threads)]
            if len({(side.batch, side.parameters) for side in sides}) > 1:
                sys.exit(f"{model}: not the same work: {[(s.batch, s.parameters) for s in sides]}")
            for _ in range(args.rounds):
                for side in random.sample(sides, len(sides)):
                    side.turn()
            theirs, mine = (side.images_per_second() for side in sides)
            memory = " | ".join(f"{side.peak_mib():.0f}" for side in sides)
            row = f"| {model} | {threads} | {theirs:.0f} | {mine:.0f} | {mine / theirs:.2f} |"
            print(f"{row} {memory} |", flush=True)
            for side in sides:
                side.close()


if __name__ == "__main__":
    main()
