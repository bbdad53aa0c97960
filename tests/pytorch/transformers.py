"""Prints outputs and gradients of a transformer's operators for inputs made by formula.

The numbers stand in distill/src/nn/transformer_tests.rs. Run it anywhere PyTorch is:

    python3 tests/pytorch/transformers.py
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
N, TOKENS, HEADS, HEAD = 2, 5, 2, 3
WIDTH = HEADS * HEAD


def wave(shape, start, scale):
    """`scale · sin(start + 1.7 k)` for k = 0, 1, …"""
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (scale * torch.sin(start + 1.7 * k)).reshape(shape).requires_grad_()


def attention(qkv, ids=None):
    q, k, v = qkv.view(N, TOKENS, 3, HEADS, HEAD).permute(2, 0, 3, 1, 4)
    mask = None if ids is None else (ids != 0)[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(N, TOKENS, WIDTH)


def show(name, y, *inputs):
    loss = (y * wave(y.shape, 0.7, 1.0).detach()).sum()
    firsts = [g.flatten()[at] for g in torch.autograd.grad(loss, inputs) for at in (0, -1)]
    numbers = [loss, y.flatten()[0], y.flatten()[-1], *firsts]
    print(f"{name}: [{', '.join(f'{v.item():.7g}' for v in numbers)}]")


qkv = wave([N, TOKENS, 3 * WIDTH], 0.3, 2.0)
ids = torch.tensor([[3, 1, 0, 2, 0], [1, 1, 1, 1, 0]])
show("attention", attention(qkv), qkv)
show("attention, padded", attention(qkv, ids), qkv)
x, gamma, beta = wave([N, TOKENS, WIDTH], 1.1, 3.0), wave([WIDTH], 0.2, 1.5), wave([WIDTH], 0.9, 0.5)
show("layer norm", F.layer_norm(x, [WIDTH], gamma, beta, 1e-5), x, gamma, beta)
show("gelu", F.gelu(x, approximate="tanh"), x)
rows = wave([4, WIDTH], 0.5, 1.0)
show("embedding", F.embedding(ids, rows), rows)
