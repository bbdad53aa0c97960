"""Images/s of training steps on a GPU: hipflask beside PyTorch, in turn, in one run.

    python3 tests/pytorch/gpu_speed.py target/release/hipflask-train-step speed.json [cuda|cpu] [BATCH …]

A step is forward, cross-entropy, backward, Adam, in f32, on random images that stay in place; each figure is the
median of the steps. PyTorch runs twice: as it comes (convolutions in TF32 where the GPU has it), and with TF32
off, which is what hipflask computes. Without PyTorch only hipflask is timed.
"""

import json
import statistics
import subprocess
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    torch = None

MODELS = {"resnet8": 32, "resnet20": 32, "mobilenet-v2": 96, "wrn16-2": 32}
BATCHES = [128, 256, 512, 1024]
WARM_UP, STEPS = 5, 20


def networks():
    """The networks by name, of the same layers and as many parameters as hipflask's."""

    def conv_bn(i, o, k, s=1):
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))

    class Block(nn.Module):
        def __init__(self, i, o, s, projected):
            super().__init__()
            self.a, self.b, self.o, self.s = conv_bn(i, o, 3, s), conv_bn(o, o, 3), o, s
            self.short = conv_bn(i, o, 1, s) if projected and (i != o or s > 1) else None

        def forward(self, x):
            y = self.b(F.relu(self.a(x)))
            if self.short is not None:
                x = self.short(x)
            elif x.shape != y.shape:
                zeros = self.o - x.shape[1]
                x = F.pad(x[:, :, :: self.s, :: self.s], (0, 0, 0, 0, zeros // 2, zeros - zeros // 2))
            return F.relu(y + x)

    class Pre(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.n1, self.n2 = nn.BatchNorm2d(i), nn.BatchNorm2d(o)
            self.c1, self.c2 = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.Conv2d(o, o, 3, 1, 1, bias=False)
            self.short = nn.Conv2d(i, o, 1, s, bias=False) if i != o else None

        def forward(self, x):
            a = F.relu(self.n1(x))
            y = self.c2(F.relu(self.n2(self.c1(a))))
            return y + (x if self.short is None else self.short(a))

    class Means(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    def staged(block, blocks, widths):
        layers, i = [], 16
        for stage, o in enumerate(widths):
            for n in range(blocks):
                layers.append(block(i, o, 2 if stage and not n else 1))
                i = o
        return layers

    def resnet(blocks, projected):
        body = staged(lambda i, o, s: Block(i, o, s, projected), blocks, [16, 32, 64])
        return nn.Sequential(conv_bn(3, 16, 3), nn.ReLU(), *body, Means(), nn.Linear(64, 10))

    def wrn():
        body = staged(Pre, 2, [32, 64, 128])
        head = [nn.BatchNorm2d(128), nn.ReLU(), Means(), nn.Linear(128, 10)]
        return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), *body, *head)

    def unit(i, o, s, t):
        m, layers = i * t, []
        if t > 1:
            layers += [conv_bn(i, m, 1), nn.ReLU6()]
        depthwise = nn.Conv2d(m, m, 3, s, 1, groups=m, bias=False)
        return nn.Sequential(*layers, depthwise, nn.BatchNorm2d(m), nn.ReLU6(), conv_bn(m, o, 1))

    class Residual(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return x + self.inner(x)

    def mobilenet():
        layers, i = [conv_bn(3, 32, 3, 2), nn.ReLU6()], 32
        for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                           (6, 160, 3, 2), (6, 320, 1, 1)]:
            for k in range(n):
                inner = unit(i, c, s if k == 0 else 1, t)
                layers.append(Residual(inner) if k else inner)
                i = c
        return nn.Sequential(*layers, conv_bn(320, 1280, 1), nn.ReLU6(), Means(), nn.Dropout(0.0), nn.Linear(1280, 10))

    return {"resnet8": lambda: resnet(1, True), "resnet20": lambda: resnet(3, False), "mobilenet-v2": mobilenet,
            "wrn16-2": wrn}


def ours(program, model, batch, device):
    """Parameters and images/s of hipflask; the error's text where it cannot."""
    lines = f"run {WARM_UP}\nrun {STEPS}\nquit\n"
    run = subprocess.run([program, model, "1" if device != "cpu" else "2", device, str(batch)], input=lines,
                         capture_output=True, text=True)
    if run.returncode:
        return None, run.stderr.strip().splitlines()[-1]
    ready, _, times = run.stdout.strip().splitlines()
    return int(ready.split()[2]), batch / statistics.median(map(int, times.split())) * 1e9


def pytorch(make, side, batch, device, tf32):
    """The same of PyTorch."""
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    try:
        net = make().to(device).train()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        x = torch.randn(batch, 3, side, side, device=device)
        y = torch.randint(0, 10, (batch,), device=device)
        times = []
        for _ in range(WARM_UP + STEPS):
            start = time.perf_counter_ns()
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter_ns() - start)
        parameters = sum(p.numel() for p in net.parameters())
        return parameters, batch / statistics.median(times[WARM_UP:]) * 1e9
    except RuntimeError as error:
        return None, str(error).splitlines()[0]


def main():
    program, path = sys.argv[1:3]
    device = (sys.argv[3:] or ["cuda"])[0]
    rows, failed = [], False
    can = torch is not None and (device == "cpu" or torch.cuda.is_available())
    print("images/s          batch   hipflask    PyTorch  without TF32   hipflask / without TF32")
    for model, side in MODELS.items():
        for batch in [int(b) for b in sys.argv[4:]] or BATCHES:
            parameters, mine = ours(program, model, batch, device)
            row = {"model": model, "batch": batch, "parameters": parameters, "hipflask": mine}
            failed |= parameters is None
            if can:
                for name, tf32 in [("pytorch", True), ("pytorch_f32", False)]:
                    theirs, row[name] = pytorch(networks()[model], side, batch, device, tf32)
                    if None not in (parameters, theirs) and parameters != theirs:
                        print(f"{model}: {parameters} parameters here, {theirs} in PyTorch: not the same network")
                        failed = True
                if device != "cpu":
                    torch.cuda.empty_cache()
            rows.append(row)
            text = [f"{v:.0f}" if isinstance(v, float) else (v or "-") for v in
                    (row.get(k) for k in ["hipflask", "pytorch", "pytorch_f32"])]
            both = all(isinstance(row.get(k), float) for k in ["hipflask", "pytorch_f32"])
            ratio = f"{row['hipflask'] / row['pytorch_f32']:.2f}" if both else "-"
            print(f"{model:<17}{batch:>6}{text[0]:>11}{text[1]:>11}{text[2]:>14}{ratio:>14}", flush=True)
    with open(path, "w") as file:
        json.dump({"device": torch.cuda.get_device_name() if can and device != "cpu" else device, "rows": rows}, file,
                  indent=1)
    sys.exit(failed)


main()
