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


def hint(s, t, weight, bias):
    """FitNets with a 1×1 convolution; the student's larger image is averaged down."""
    s = F.adaptive_avg_pool2d(s, t.shape[2:])
    return F.mse_loss(F.conv2d(s, weight[:, :, None, None], bias), t)


def attention_transfer(s, t):
    """github.com/szagoruyko/attention-transfer, utils.py, at and at_loss."""
    at = lambda x: F.normalize(x.pow(2).mean(1).flatten(1))
    return (at(s) - at(F.adaptive_avg_pool2d(t, s.shape[2:]))).pow(2).mean()


def rkd(s, t, distance, angle):
    """github.com/lenscloth/RKD, metric/loss.py, RkdDistance and RKdAngle."""

    def pdist(e):
        square = e.pow(2).sum(dim=1)
        d = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * e @ e.t()).clamp(min=1e-12).sqrt()
        d = d * (1 - torch.eye(len(e)))
        return d / d[d > 0].mean()

    def angles(e):
        directions = F.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2)
        return torch.bmm(directions, directions.transpose(1, 2))

    return distance * F.smooth_l1_loss(pdist(s), pdist(t)) + angle * F.smooth_l1_loss(angles(s), angles(t))


def similarity(s, t):
    """Tung and Mori 2019, equations 1 to 4."""
    g = lambda x: F.normalize(x.flatten(1) @ x.flatten(1).t(), p=2, dim=1)
    return (g(t) - g(s)).pow(2).sum() / len(s) ** 2


class Crd:
    """github.com/HobbitLong/RepDistiller, crd/memory.py and crd/criterion.py; the negatives of a
    sample are all rows of other classes."""

    def __init__(self, memory_s, memory_t, labels, temperature, momentum):
        self.memory_s, self.memory_t = memory_s, memory_t
        self.labels, self.temperature, self.momentum = labels, temperature, momentum
        self.z_s = self.z_t = None

    def criterion(self, own, others):
        n_data, eps = len(self.labels), 1e-7
        total = 0
        for p, q in zip(own, others):
            noise = len(q) / n_data
            total = total + (p / (p + noise + eps)).log() + (noise / (q + noise + eps)).log().sum()
        return -total / len(own)

    def contrast(self, v, memory, index):
        scores = torch.exp(v @ memory.t() / self.temperature)
        own = [scores[row, i] for row, i in enumerate(index)]
        others = [scores[row, self.labels != self.labels[i]] for row, i in enumerate(index)]
        return own, others

    def __call__(self, s, t, index):
        n_data = len(self.labels)
        own_s, others_s = self.contrast(s, self.memory_t.clone(), index)
        own_t, others_t = self.contrast(t, self.memory_s.clone(), index)
        if self.z_s is None:
            z = lambda own, others: torch.cat([torch.stack(own), *others]).mean().detach() * n_data
            self.z_s, self.z_t = z(own_s, others_s), z(own_t, others_t)
        scale = lambda values, z: [value / z for value in values]
        loss = self.criterion(scale(own_s, self.z_s), scale(others_s, self.z_s))
        loss = loss + self.criterion(scale(own_t, self.z_t), scale(others_t, self.z_t))
        for memory, v in ((self.memory_s, s), (self.memory_t, t)):
            new = memory[index] * self.momentum + v.detach() * (1 - self.momentum)
            memory[index] = F.normalize(new)
        return loss


def features():
    s = wave([4, 2, 5, 4], 0.2, 1.5).requires_grad_()
    t = wave([4, 3, 3, 4], 0.9, 2.0)
    weight, bias = wave([3, 2], 0.4, 0.8).requires_grad_(), wave([3], 0.6, 0.8).requires_grad_()
    show("hint", hint(s, t, weight, bias), s, weight, bias)
    big = wave([4, 3, 6, 5], 0.9, 2.0)
    show("attention-transfer", attention_transfer(s, big), s)
    s = wave([4, 6], 0.2, 1.5).requires_grad_()
    t = wave([4, 5], 0.9, 2.0)
    show("rkd, distance 25, angle 50", rkd(s, t, 25.0, 50.0), s)
    show("rkd, distance 1, angle 0", rkd(s, t, 1.0, 0.0), s)
    show("similarity", similarity(s, t), s)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    crd = Crd(F.normalize(wave([7, 3], 0.5, 1.0)), F.normalize(wave([7, 3], 1.5, 1.0)), labels, 0.07, 0.5)
    w_s, b_s = wave([3, 6], 0.4, 0.8).requires_grad_(), wave([3], 0.6, 0.8).requires_grad_()
    w_t, b_t = wave([3, 5], 1.4, 0.8).requires_grad_(), wave([3], 1.6, 0.8).requires_grad_()
    embed = lambda: (F.normalize(F.linear(s, w_s, b_s)), F.normalize(F.linear(t, w_t, b_t)))
    show("crd, first batch", crd(*embed(), torch.tensor([5, 0, 3, 1])), s, w_s, w_t)
    show("crd, second batch", crd(*embed(), torch.tensor([0, 6, 2, 5])), s, w_s, w_t)


logits()
features()
