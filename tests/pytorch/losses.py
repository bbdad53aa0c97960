"""Prints the distillation losses of fixed inputs, written from the papers' formulas in PyTorch.

The numbers stand in distill/src/loss/tests. Run it anywhere PyTorch is:

    python3 tests/pytorch/losses.py
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(shape, start, scale):
    """`scale · sin(start + 1.7 k)` for k = 0, 1, …"""
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (scale * torch.sin(start + 1.7 * k)).reshape(shape)


def kl(teacher, student):
    return (teacher * (teacher.log() - student.log())).sum(1)


def kd(s, t, temperature):
    """Hinton et al. 2015, equation 1 with the factor T² of section 2.1."""
    p, q = F.softmax(t / temperature, 1), F.softmax(s / temperature, 1)
    return temperature**2 * kl(p, q).mean()


def logit_standardisation(s, t, temperature):
    """Sun et al. 2024, algorithm 1 (the published code divides by the sample deviation)."""
    z = lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-7)
    return kd(z(s), z(t), temperature)


def dkd(s, t, labels, alpha, beta, temperature):
    """Zhao et al. 2022, equation 7."""
    p, q = F.softmax(t / temperature, 1), F.softmax(s / temperature, 1)
    label = F.one_hot(labels, s.shape[1]).bool()
    binary = lambda x: torch.stack([x[label], 1 - x[label]], 1)
    others = lambda x: x[~label].reshape(len(x), -1) / (1 - x[label]).unsqueeze(1)
    target, rest = kl(binary(p), binary(q)).mean(), kl(others(p), others(q)).mean()
    return temperature**2 * (alpha * target + beta * rest)


def dist(s, t, beta, gamma, temperature):
    """Huang et al. 2022, equations 6 to 8."""
    p, q = F.softmax(t / temperature, 1), F.softmax(s / temperature, 1)

    def correlation(a, b):
        return torch.stack([torch.corrcoef(torch.stack(rows))[0, 1] for rows in zip(a, b)])

    inter, intra = 1 - correlation(q, p).mean(), 1 - correlation(q.T, p.T).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def show(name, loss, *inputs):
    gradients = torch.autograd.grad(loss, inputs)
    firsts = ", ".join(f"{g.flatten()[0]:.6}, {g.flatten()[-1]:.6}" for g in gradients)
    print(f"{name}: {loss:.7f}; first and last gradient {firsts}")


def logits():
    s = wave([4, 5], 0.3, 3.0).requires_grad_()
    t = wave([4, 5], 1.1, 5.0)
    labels = torch.tensor([0, 3, 4, 1])
    show("kd, T = 4", kd(s, t, 4.0), s)
    show("logit-standardisation, T = 2", logit_standardisation(s, t, 2.0), s)
    show("mse", F.mse_loss(s, t), s)
    show("l1", F.l1_loss(s, t), s)
    show("dkd, alpha 1, beta 8, T = 4", dkd(s, t, labels, 1.0, 8.0, 4.0), s)
    show("dist, beta 1, gamma 1, T = 1", dist(s, t, 1.0, 1.0, 1.0), s)
    show("dist, beta 2, gamma 0.5, T = 4", dist(s, t, 2.0, 0.5, 4.0), s)
    show("cross-entropy, smoothing 0.1", F.cross_entropy(s, labels, label_smoothing=0.1), s)


logits()
