#!/usr/bin/env python3
"""Runs the CUDA training kernels on a CPU and compares them with PyTorch: needs no GPU.

  python tests/pytorch/cuda_kernels.py        (a Python with torch; g++ with C++20)

The kernels' text is compiled as C++: a block's threads are real threads with a barrier, blocks run in turn. So the
arithmetic and the indices are checked, not the launch code and not the speed; scripts/gpu-check does that on a GPU.
"""
import ctypes, itertools, math, pathlib, subprocess, tempfile
import torch, torch.nn.functional as F

SOURCE = pathlib.Path(__file__).parents[2] / "distill/src/nn/cuda/kernels.cu"
SHIM = r"""
#include <algorithm>
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::min; using std::max; using std::sqrt;
struct Dim { unsigned x = 1, y = 1; };
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim, gridDim;
static std::barrier<>* barrier;
#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() barrier->arrive_and_wait()
#include "kernels.cu"
// Blocks whose threads never meet run as one loop.
template <typename F> static void blocks(unsigned gx, unsigned gy, unsigned threads, bool meet, F kernel) {
    blockDim = {threads, 1}; gridDim = {gx, gy};
    std::barrier<> own(threads); barrier = &own;
    auto all = [&](unsigned t) {
        for (unsigned y = 0; y < gy; y++) for (unsigned x = 0; x < gx; x++) { threadIdx = {t, 0}; blockIdx = {x, y}; kernel(); }
    };
    if (!meet) { for (unsigned t = 0; t < threads; t++) all(t); return; }
    std::vector<std::thread> pool;
    for (unsigned t = 0; t < threads; t++) pool.emplace_back(all, t);
    for (auto& t : pool) t.join();
}
#define RUN(name, meet, ...) extern "C" void run_##name(unsigned gx, unsigned gy, unsigned t, void** p, Geometry g) \
    { blocks(gx, gy, t, meet, [&] { name(__VA_ARGS__, g); }); }
#define P(i) (float*)p[i]
#define D(i) (double*)p[i]
RUN(swap, false, P(0), P(1)) RUN(im2col, false, P(0), P(1)) RUN(col2im, false, P(0), P(1))
RUN(depthwise, false, P(0), P(1), P(2)) RUN(depthwise_input, false, P(0), P(1), P(2))
RUN(depthwise_weight, true, P(0), P(1), P(2))
RUN(bn_sums, true, P(0), D(1)) RUN(bn_moments, false, D(0), P(1)) RUN(bn_apply, false, P(0), P(1), P(2), P(3), P(4))
RUN(bn_grad_sums, true, P(0), P(1), P(2), P(3), D(4)) RUN(bn_reduce, false, D(0), P(1))
RUN(bn_grad, false, P(0), P(1), P(2), P(3), P(4), P(5), P(6))
RUN(max_pool, false, P(0), P(1)) RUN(max_pool_grad, false, P(0), P(1), P(2))
RUN(avg_pool, false, P(0), P(1)) RUN(avg_pool_grad, false, P(0), P(1))
"""
FIELDS = "n c in_h in_w out_h out_w k_h k_w stride_h stride_w top left dil_h dil_w chunk flag".split()


class Geometry(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in FIELDS] + [("epsilon", ctypes.c_float)]


def build():
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "shim.cpp").write_text(SHIM)
    command = ["g++", "-std=c++20", "-O1", "-w", "-pthread", "-shared", "-fPIC", "-fsanitize=undefined", "-I", SOURCE.parent]
    subprocess.run(command + [folder / "shim.cpp", "-o", folder / "kernels.so"], check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def run(name, inputs, shape, g, grid=None, dtype=torch.float32):
    out = torch.full(shape, math.nan, dtype=dtype)
    gx, gy = grid or (-(-out.numel() // 256), 1)
    pointers = (ctypes.c_void_p * (len(inputs) + 1))(*[t.data_ptr() for t in inputs], out.data_ptr())
    getattr(LIB, "run_" + name)(gx, gy, 256, pointers, Geometry(**g))
    return out


def same(what, ours, theirs, tolerance=2e-5):
    scale = max(1.0, theirs.abs().max().item())
    error = (ours - theirs).abs().max().item() / scale
    assert error < tolerance, f"{what}: {error}"


def geometry(n, c, size, out, kernel=(1, 1), stride=(1, 1), before=(0, 0), dilation=(1, 1), **more):
    values = [n, c, *size, *out, *kernel, *stride, *before, *dilation]
    return dict(zip(FIELDS, values), **more)


def convolutions():
    kernels, strides, dilations = [(3, 3), (1, 1), (2, 5), (4, 1)], [(1, 1), (2, 2), (3, 1)], [(1, 1), (2, 3)]
    for kernel, stride, dilation, pad in itertools.product(kernels, strides, dilations, [(0, 0), (1, 2)]):
        n, c, o, size = 3, 5, 4, (9, 14)
        what = f"kernel {kernel} stride {stride} dilation {dilation} pad {pad}"
        x, w = torch.randn(n, c, *size, requires_grad=True), torch.randn(o, c, *kernel, requires_grad=True)
        y = F.conv2d(x, w, None, stride, pad, dilation)
        dy = torch.randn_like(y)
        y.backward(dy)
        g = geometry(n, c, size, y.shape[2:], kernel, stride, pad, dilation)
        columns = run("im2col", [x], (c * kernel[0] * kernel[1], n * y[0, 0].numel()), g)
        swapped = lambda t, a, b: run("swap", [t], (b, a, t[0, 0].numel()), geometry(a, b, t.shape[2:], (1, 1)))
        ours = w.detach().view(o, -1) @ columns
        same(what, swapped(ours.view(o, n, *y.shape[2:]), o, n).view(y.shape), y.detach())
        d = swapped(dy, n, o).view(o, -1)
        same(what + " weight", (d @ columns.T).view(w.shape), w.grad)
        same(what + " input", run("col2im", [(w.detach().view(o, -1).T @ d).contiguous()], x.shape, g), x.grad)

        w = torch.randn(c, 1, *kernel, requires_grad=True)
        x.grad = None
        y = F.conv2d(x, w, None, stride, pad, dilation, groups=c)
        dy = torch.randn_like(y)
        y.backward(dy)
        same("depthwise " + what, run("depthwise", [x, w], y.shape, g), y.detach())
        same("depthwise input " + what, run("depthwise_input", [dy, w], x.shape, g), x.grad)
        parts = run("depthwise_weight", [x, dy], (2, *w.shape), dict(g, chunk=2), (w.numel(), 2))
        same("depthwise weight " + what, parts.sum(0), w.grad)


def batch_norms():
    for (n, c, size), relu in itertools.product([(5, 3, (7, 6)), (16, 4, (1, 1)), (4, 1, (5, 20))], [0, 1]):
        x = (torch.randn(n, c, *size) * 3 + 20).requires_grad_()
        gamma, beta = torch.randn(c, requires_grad=True), torch.randn(c, requires_grad=True)
        y = F.batch_norm(x, None, None, gamma, beta, True, 0.1, 1e-5)
        y = F.relu(y) if relu else y
        dy = torch.randn_like(y)
        y.backward(dy)
        g = geometry(n, c, size, size, chunk=3, flag=relu, epsilon=1e-5)
        chunks = -(-n // 3)
        sums = lambda name, inputs: run(name, inputs, (chunks, c, 2), g, (c, chunks), torch.float64)
        moments = run("bn_moments", [sums("bn_sums", [x])], (3, c), dict(g, k_h=chunks))
        same("variance", moments[1], x.detach().var((0, 2, 3), correction=0))
        ours = run("bn_apply", [x, gamma, beta, moments], x.shape, g)
        same("batch norm", ours, y.detach())
        reduced = run("bn_reduce", [sums("bn_grad_sums", [x, ours, dy, moments])], (2, c), dict(g, k_h=chunks))
        same("beta", reduced[0], beta.grad)
        same("gamma", reduced[1], gamma.grad, 1e-4)
        same("input", run("bn_grad", [x, ours, dy, gamma, moments, reduced], x.shape, g), x.grad, 1e-4)


def pools():
    for kernel, stride, pad in itertools.product([(2, 2), (3, 3), (2, 3)], [(1, 1), (2, 2), (3, 2)], [(0, 0), (1, 1)]):
        x = torch.randint(-4, 4, (2, 3, 9, 11)).float().requires_grad_()    # many ties
        y = F.max_pool2d(x, kernel, stride, pad)
        dy = torch.randn_like(y)
        y.backward(dy)
        g = geometry(2, 3, (9, 11), y.shape[2:], kernel, stride, pad)
        same("max pool", run("max_pool", [x], y.shape, g), y.detach())
        same("max pool gradient", run("max_pool_grad", [x, dy], x.shape, g), x.grad)
        for count in (0, 1):
            x.grad = None
            y = F.avg_pool2d(x, kernel, stride, pad, count_include_pad=bool(count))
            y.backward(dy)
            same("average pool", run("avg_pool", [x], y.shape, dict(g, flag=count)), y.detach())
            same("average pool gradient", run("avg_pool_grad", [dy], x.shape, dict(g, flag=count)), x.grad)


torch.manual_seed(0)
LIB = build()
convolutions(), batch_norms(), pools()
print("passed: convolutions, depthwise convolutions, batch norms and pools equal PyTorch's")
