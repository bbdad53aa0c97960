// Training kernels in f32 for CUDA, compiled at run time. Values are in PyTorch's layout,
// [n, c, h, w]. Every output value is summed by one thread, or by one block in a fixed order, so a
// kernel gives the same bits in every run: there are no atomics.

// Tensors have fewer than 2^32 values (launch.rs checks it): division in 64 bits is slow.
typedef unsigned size;

// One field for each of `Geometry` in launch.rs.
struct Geometry {
    unsigned n, c, in_h, in_w, out_h, out_w, k_h, k_w, stride_h, stride_w, top, left, dil_h, dil_w;
    unsigned chunk; // samples that one block sums
    unsigned flag;  // ReLU after a batch norm; padding counts in an average
    float epsilon;
};

#define KERNEL extern "C" __global__ void
#define THREAD ((size)blockIdx.x * blockDim.x + threadIdx.x)
#define BLOCK 256

// Splits a flat index into the parts that the sizes of inner dimensions name.
#define POP(index, extent) (unsigned)((index) % (extent)); (index) /= (extent)

// The input place under output `out` and kernel position `tap`, or -1 in the padding.
__device__ static int under(unsigned out, unsigned tap, unsigned stride, unsigned dil,
                            unsigned before, unsigned extent) {
    int at = (int)(out * stride + tap * dil) - (int)before;
    return at >= 0 && at < (int)extent ? at : -1;
}

// The output that reads input place `at` at kernel position `tap`, or -1 where there is none.
__device__ static int reader(unsigned at, unsigned tap, unsigned stride, unsigned dil,
                             unsigned before, unsigned extent) {
    int from = (int)(at + before) - (int)(tap * dil);
    if (from < 0 || from % (int)stride != 0) return -1;
    from /= (int)stride;
    return from < (int)extent ? from : -1;
}

// x [n, c, p] to [c, n, p], p = in_h * in_w.
KERNEL swap(const float* x, float* out, Geometry g) {
    size plane = (size)g.in_h * g.in_w, i = THREAD, rest = i;
    if (i >= g.n * g.c * plane) return;
    size at = rest % plane;
    rest /= plane;
    unsigned n = POP(rest, g.n);
    out[i] = x[(n * (size)g.c + rest) * plane + at];
}

// x [n, c, in] to columns [c, k_h, k_w, n, out].
KERNEL im2col(const float* x, float* columns, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.c * g.k_h * g.k_w * g.n * g.out_h * g.out_w) return;
    unsigned out_x = POP(rest, g.out_w);
    unsigned out_y = POP(rest, g.out_h);
    unsigned n = POP(rest, g.n);
    unsigned k_x = POP(rest, g.k_w);
    unsigned k_y = POP(rest, g.k_h);
    int y = under(out_y, k_y, g.stride_h, g.dil_h, g.top, g.in_h);
    int col = under(out_x, k_x, g.stride_w, g.dil_w, g.left, g.in_w);
    size plane = (n * (size)g.c + rest) * g.in_h;
    columns[i] = y < 0 || col < 0 ? 0.0f : x[(plane + y) * g.in_w + col];
}

// The transpose of im2col: columns to x, each value the sum of its copies.
KERNEL col2im(const float* columns, float* x, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.in_h * g.in_w) return;
    unsigned col = POP(rest, g.in_w);
    unsigned y = POP(rest, g.in_h);
    unsigned c = POP(rest, g.c);
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int out_y = reader(y, k_y, g.stride_h, g.dil_h, g.top, g.out_h);
        if (out_y < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int out_x = reader(col, k_x, g.stride_w, g.dil_w, g.left, g.out_w);
            if (out_x < 0) continue;
            size row = (((size)c * g.k_h + k_y) * g.k_w + k_x) * g.n + rest;
            sum += columns[(row * g.out_h + out_y) * g.out_w + out_x];
        }
    }
    x[i] = sum;
}

// x [n, c, in] with w [c, 1, k_h, k_w] to y [n, c, out].
KERNEL depthwise(const float* x, const float* w, float* y, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.out_h * g.out_w) return;
    unsigned out_x = POP(rest, g.out_w);
    unsigned out_y = POP(rest, g.out_h);
    unsigned c = rest % g.c;
    const float* plane = x + rest * g.in_h * g.in_w;
    const float* taps = w + (size)c * g.k_h * g.k_w;
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int row = under(out_y, k_y, g.stride_h, g.dil_h, g.top, g.in_h);
        if (row < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int col = under(out_x, k_x, g.stride_w, g.dil_w, g.left, g.in_w);
            if (col >= 0) sum += plane[(size)row * g.in_w + col] * taps[k_y * g.k_w + k_x];
        }
    }
    y[i] = sum;
}

// dy [n, c, out] with w to dx [n, c, in].
KERNEL depthwise_input(const float* dy, const float* w, float* dx, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.in_h * g.in_w) return;
    unsigned col = POP(rest, g.in_w);
    unsigned y = POP(rest, g.in_h);
    unsigned c = rest % g.c;
    const float* plane = dy + rest * g.out_h * g.out_w;
    const float* taps = w + (size)c * g.k_h * g.k_w;
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int out_y = reader(y, k_y, g.stride_h, g.dil_h, g.top, g.out_h);
        if (out_y < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int out_x = reader(col, k_x, g.stride_w, g.dil_w, g.left, g.out_w);
            if (out_x >= 0) sum += plane[(size)out_y * g.out_w + out_x] * taps[k_y * g.k_w + k_x];
        }
    }
    dx[i] = sum;
}

// Adds the values of a block's threads pairwise; thread 0 gets the sum.
__device__ static double block_sum(double value, double* shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    double sum = shared[0];
    __syncthreads();
    return sum;
}

// x and dy to partial gradients [chunks, c, k_h, k_w]; a block has one tap and one chunk.
KERNEL depthwise_weight(const float* x, const float* dy, float* partial, Geometry g) {
    __shared__ double shared[BLOCK];
    unsigned rest = blockIdx.x;
    unsigned k_x = POP(rest, g.k_w);
    unsigned k_y = POP(rest, g.k_h);
    size plane = (size)g.out_h * g.out_w, first = (size)blockIdx.y * g.chunk;
    size samples = min((size)g.chunk, g.n - first);
    float sum = 0.0f;
    for (size i = threadIdx.x; i < samples * plane; i += BLOCK) {
        size sample = first + i / plane, at = i % plane;
        int y = under(at / g.out_w, k_y, g.stride_h, g.dil_h, g.top, g.in_h);
        int col = under(at % g.out_w, k_x, g.stride_w, g.dil_w, g.left, g.in_w);
        if (y < 0 || col < 0) continue;
        size channel = sample * g.c + rest;
        sum += x[(channel * g.in_h + y) * g.in_w + col] * dy[channel * plane + at];
    }
    double total = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[(size)blockIdx.y * gridDim.x + blockIdx.x] = (float)total;
}

// x [n, c, in] to (sum, sum of squares) [chunks, c, 2] in f64; a block has one channel, one chunk.
KERNEL bn_sums(const float* x, double* partial, Geometry g) {
    __shared__ double shared[BLOCK];
    size plane = (size)g.in_h * g.in_w, first = (size)blockIdx.y * g.chunk;
    size samples = min((size)g.chunk, g.n - first);
    double sum = 0.0, squares = 0.0;
    for (size i = threadIdx.x; i < samples * plane; i += BLOCK) {
        double v = x[((first + i / plane) * g.c + blockIdx.x) * plane + i % plane];
        sum += v;
        squares += v * v;
    }
    sum = block_sum(sum, shared);
    squares = block_sum(squares, shared);
    if (threadIdx.x == 0) {
        double* out = partial + ((size)blockIdx.y * g.c + blockIdx.x) * 2;
        out[0] = sum;
        out[1] = squares;
    }
}

// Partial sums to (mean, biased variance, 1 / sqrt(variance + epsilon)) [3, c]; k_h is the chunks.
KERNEL bn_moments(const double* partial, float* moments, Geometry g) {
    size c = THREAD;
    if (c >= g.c) return;
    double sum = 0.0, squares = 0.0, count = (double)g.n * g.in_h * g.in_w;
    for (unsigned i = 0; i < g.k_h; i++) {
        sum += partial[((size)i * g.c + c) * 2];
        squares += partial[((size)i * g.c + c) * 2 + 1];
    }
    double mean = sum / count, variance = squares / count - mean * mean;
    if (variance < 0.0) variance = 0.0;
    moments[c] = (float)mean;
    moments[g.c + c] = (float)variance;
    moments[2 * g.c + c] = (float)(1.0 / sqrt(variance + (double)g.epsilon));
}

// y = (x - mean) * inverse * gamma + beta, then max(y, 0) with flag.
KERNEL bn_apply(const float* x, const float* gamma, const float* beta, const float* moments,
                float* y, Geometry g) {
    size i = THREAD, plane = (size)g.in_h * g.in_w;
    if (i >= g.n * g.c * plane) return;
    unsigned c = i / plane % g.c;
    float v = (x[i] - moments[c]) * moments[2 * g.c + c] * gamma[c] + beta[c];
    y[i] = g.flag && v < 0.0f ? 0.0f : v;
}

// (sum of dy, sum of dy * normalised x) [chunks, c, 2] in f64; with flag, dy is 0 where y is 0.
KERNEL bn_grad_sums(const float* x, const float* y, const float* dy, const float* moments,
                    double* partial, Geometry g) {
    __shared__ double shared[BLOCK];
    size plane = (size)g.in_h * g.in_w, first = (size)blockIdx.y * g.chunk;
    size samples = min((size)g.chunk, g.n - first);
    float mean = moments[blockIdx.x], inverse = moments[2 * g.c + blockIdx.x];
    double sum = 0.0, products = 0.0;
    for (size i = threadIdx.x; i < samples * plane; i += BLOCK) {
        size at = ((first + i / plane) * g.c + blockIdx.x) * plane + i % plane;
        double d = g.flag && y[at] <= 0.0f ? 0.0f : dy[at];
        sum += d;
        products += d * (double)((x[at] - mean) * inverse);
    }
    sum = block_sum(sum, shared);
    products = block_sum(products, shared);
    if (threadIdx.x == 0) {
        double* out = partial + ((size)blockIdx.y * g.c + blockIdx.x) * 2;
        out[0] = sum;
        out[1] = products;
    }
}

// Partial sums [chunks, c, 2] to [2, c]: the gradients of beta and gamma; k_h is the chunks.
KERNEL bn_reduce(const double* partial, float* sums, Geometry g) {
    size i = THREAD;
    if (i >= 2 * g.c) return;
    double sum = 0.0;
    for (unsigned chunk = 0; chunk < g.k_h; chunk++) {
        sum += partial[((size)chunk * g.c + i % g.c) * 2 + i / g.c];
    }
    sums[i] = (float)sum;
}

// The input's gradient: gamma * inverse * (dy - (sums[0] + x_hat * sums[1]) / count).
KERNEL bn_grad(const float* x, const float* y, const float* dy, const float* gamma,
               const float* moments, const float* sums, float* dx, Geometry g) {
    size i = THREAD, plane = (size)g.in_h * g.in_w;
    if (i >= g.n * g.c * plane) return;
    unsigned c = i / plane % g.c;
    float inverse = moments[2 * g.c + c], x_hat = (x[i] - moments[c]) * inverse;
    float d = g.flag && y[i] <= 0.0f ? 0.0f : dy[i];
    float mean = (sums[c] + x_hat * sums[g.c + c]) / (float)((size)g.n * plane);
    dx[i] = gamma[c] * inverse * (d - mean);
}

// The place in its plane of a window's maximum: the first of equals; a NaN wins over all.
__device__ static int window_max(const float* plane, unsigned out_y, unsigned out_x, Geometry g) {
    int best = -1;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int y = under(out_y, k_y, g.stride_h, 1, g.top, g.in_h);
        if (y < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int x = under(out_x, k_x, g.stride_w, 1, g.left, g.in_w);
            if (x < 0) continue;
            int at = y * (int)g.in_w + x;
            float v = plane[at];
            if (best < 0 || v > plane[best] || (v != v && plane[best] == plane[best])) best = at;
        }
    }
    return best;
}

KERNEL max_pool(const float* x, float* y, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.out_h * g.out_w) return;
    unsigned out_x = POP(rest, g.out_w);
    unsigned out_y = POP(rest, g.out_h);
    const float* plane = x + rest * g.in_h * g.in_w;
    y[i] = plane[window_max(plane, out_y, out_x, g)];
}

KERNEL max_pool_grad(const float* x, const float* dy, float* dx, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.in_h * g.in_w) return;
    unsigned col = POP(rest, g.in_w);
    unsigned y = POP(rest, g.in_h);
    const float* plane = x + rest * g.in_h * g.in_w;
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int out_y = reader(y, k_y, g.stride_h, 1, g.top, g.out_h);
        if (out_y < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int out_x = reader(col, k_x, g.stride_w, 1, g.left, g.out_w);
            if (out_x < 0 || window_max(plane, out_y, out_x, g) != (int)(y * g.in_w + col)) continue;
            sum += dy[(rest * g.out_h + out_y) * g.out_w + out_x];
        }
    }
    dx[i] = sum;
}

// By how many values a window's sum is divided: all, or with flag 0 those that are no padding.
__device__ static float divisor(unsigned out_y, unsigned out_x, Geometry g) {
    if (g.flag) return (float)(g.k_h * g.k_w);
    int y = (int)(out_y * g.stride_h) - (int)g.top, x = (int)(out_x * g.stride_w) - (int)g.left;
    int rows = min(y + (int)g.k_h, (int)g.in_h) - max(y, 0);
    int cols = min(x + (int)g.k_w, (int)g.in_w) - max(x, 0);
    return (float)(rows * cols);
}

KERNEL avg_pool(const float* x, float* y, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.out_h * g.out_w) return;
    unsigned out_x = POP(rest, g.out_w);
    unsigned out_y = POP(rest, g.out_h);
    const float* plane = x + rest * g.in_h * g.in_w;
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int row = under(out_y, k_y, g.stride_h, 1, g.top, g.in_h);
        if (row < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int col = under(out_x, k_x, g.stride_w, 1, g.left, g.in_w);
            if (col >= 0) sum += plane[(size)row * g.in_w + col];
        }
    }
    y[i] = sum / divisor(out_y, out_x, g);
}

KERNEL avg_pool_grad(const float* dy, float* dx, Geometry g) {
    size i = THREAD, rest = i;
    if (i >= (size)g.n * g.c * g.in_h * g.in_w) return;
    unsigned col = POP(rest, g.in_w);
    unsigned y = POP(rest, g.in_h);
    float sum = 0.0f;
    for (unsigned k_y = 0; k_y < g.k_h; k_y++) {
        int out_y = reader(y, k_y, g.stride_h, 1, g.top, g.out_h);
        if (out_y < 0) continue;
        for (unsigned k_x = 0; k_x < g.k_w; k_x++) {
            int out_x = reader(col, k_x, g.stride_w, 1, g.left, g.out_w);
            if (out_x < 0) continue;
            float value = dy[(rest * g.out_h + out_y) * g.out_w + out_x];
            sum += value / divisor(out_y, out_x, g);
        }
    }
    dx[i] = sum;
}
