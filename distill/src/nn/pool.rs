//! Maximum and average pooling with hand-written gradients (candle's are wrong or missing).

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::Body;
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::composed;
use super::simd::vectorized;
use super::window::Window;
use crate::{Error, ErrorKind, Result};

/// How a pooling window moves over its input; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between neighbouring outputs.
    pub stride: [usize; 2],
    /// Rows and columns added at the top, left, bottom and right, each smaller than the window.
    pub padding: [usize; 4],
}

impl PoolSpec {
    /// The geometry over `x [n, c, h, w]`, checked.
    pub(super) fn window(&self, x: &Tensor) -> Result<Window> {
        let fail = |message| Err(Error::new(ErrorKind::Shape, "pooling", message));
        let &[_, _, h, w] = x.dims() else {
            return fail(format!("expected input [n, c, h, w], got {:?}", x.dims()));
        };
        let [top, left, bottom, right] = self.padding;
        // Otherwise a window could lie in the padding alone and have neither maximum nor mean.
        if top.max(bottom) >= self.kernel[0].max(1) || left.max(right) >= self.kernel[1].max(1) {
            return fail(format!(
                "padding {:?} must be smaller than the window {:?}",
                self.padding, self.kernel
            ));
        }
        if h * w == 0 {
            return fail(format!("expected input with values, got {:?}", x.dims()));
        }
        Window::new("pooling", [h, w], self.kernel, self.stride, self.padding, [1; 2])
    }
}

/// The maximum of each window of `x [n, c, h, w]`; padding never wins.
///
/// Returns `[n, c, out_h, out_w]`. Of equal values the first in row order gets the gradient, and
/// a NaN wins over all, as in PyTorch.
pub fn max_pool2d(x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
    if !on_host(x) {
        return composed::max_pool2d(x, spec);
    }
    Ok(x.contiguous()?.apply_op1(MaxPool::new(spec.window(x)?))?)
}

/// The mean of each window of `x [n, c, h, w]`.
///
/// Divides by the window's size if `count_padding` (PyTorch's `count_include_pad`), else by the
/// number of input values under it.
pub fn avg_pool2d(x: &Tensor, spec: &PoolSpec, count_padding: bool) -> Result<Tensor> {
    if !on_host(x) {
        return composed::avg_pool2d(x, spec, count_padding);
    }
    Ok(x.contiguous()?.apply_op1(AvgPool { window: spec.window(x)?, count_padding })?)
}

/// The mean of each plane: `[n, c, h, w]` to `[n, c, 1, 1]`.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if h * w == 0 {
        let message = format!("the mean of an empty plane is not defined: {:?}", x.dims());
        return Err(Error::new(ErrorKind::Shape, "global average pooling", message));
    }
    Ok(x.reshape((n, c, h * w))?.mean(2)?.reshape((n, c, 1, 1))?)
}

/// Calls `f(output index, covered rows, covered columns)` for each window of a plane.
fn each_window(window: &Window, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
    let [out_h, out_w] = window.output;
    for y in 0..out_h {
        for x in 0..out_w {
            f(y * out_w + x, window.covered(0, y), window.covered(1, x));
        }
    }
}

/// Elements that are worth another thread.
const ELEMENTS: usize = 1 << 14;

/// Applies `f(input plane, output plane)` to all planes in parallel.
fn map_planes(window: &Window, x: &[f32], f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let (in_plane, out_plane) = (window.in_plane(), window.out_plane());
    let mut y = vec![0.0; x.len() / in_plane * out_plane];
    let planes = y.par_chunks_mut(out_plane).zip(x.par_chunks(in_plane));
    planes.with_min_len(ELEMENTS.div_ceil(in_plane)).for_each(|(y, x)| f(x, y));
    y
}

fn pooled_shape(window: &Window, layout: &Layout) -> Vec<usize> {
    let mut shape = layout.dims().to_vec();
    shape.splice(2.., window.output);
    shape
}

struct MaxPool {
    window: Window,
    /// For each row and each column of the kernel the outputs that read input there, and the input
    /// that the first of them reads.
    spans: [Vec<(Range<usize>, usize)>; 2],
}

impl MaxPool {
    fn new(window: Window) -> Self {
        let spans =
            [0, 1].map(|axis| (0..window.kernel[axis]).map(|tap| window.span(axis, tap)).collect());
        Self { window, spans }
    }

    /// Calls `f(input values, output values)` for each row of windows and each of their places in
    /// turn: what the place reads, a stride apart, and the run of outputs that read it.
    #[inline(always)]
    fn each_place(&self, mut f: impl FnMut(Range<usize>, Range<usize>)) {
        let ([_, width], [out_h, out_w]) = (self.window.input, self.window.output);
        let [rows, columns] = &self.spans;
        for y in 0..out_h {
            for (outputs, first_y) in rows.iter().filter(|(outputs, _)| outputs.contains(&y)) {
                let row = (first_y + (y - outputs.start) * self.window.stride[0]) * width;
                for (outputs, first_x) in columns.iter().filter(|(outputs, _)| !outputs.is_empty())
                {
                    let outputs = y * out_w + outputs.start..y * out_w + outputs.end;
                    f(row + first_x..row + width, outputs);
                }
            }
        }
    }
}

/// The maxima of a plane.
struct Maxima<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { pool, x, y } = self;
        y.fill(f32::NEG_INFINITY);
        let stride = pool.window.stride[1];
        pool.each_place(|from, to| {
            for (y, &v) in y[to].iter_mut().zip(x[from].iter().step_by(stride)) {
                *y = if v > *y || v.is_nan() { v } else { *y };
            }
        });
    }
}

/// Gives each output's gradient to the first of its window's values with the maximum's bits.
struct Winners<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// What is still to be given of `dy`.
    open: &'a mut [f32],
}

impl Body for Winners<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { pool, x, y, dy, dx, open } = self;
        open.copy_from_slice(dy);
        let stride = pool.window.stride[1];
        pool.each_place(|from, to| {
            let outputs = y[to.clone()].iter().zip(&mut open[to]);
            let inputs = x[from.clone()].iter().zip(&mut dx[from]).step_by(stride);
            for ((y, open), (x, dx)) in outputs.zip(inputs) {
                // Masks: which of four values wins is what no branch predictor knows.
                let wins = 0_u32.wrapping_sub(u32::from(x.to_bits() == y.to_bits()));
                *dx += f32::from_bits(open.to_bits() & wins);
                *open = f32::from_bits(open.to_bits() & !wins);
            }
        });
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let y = map_planes(&self.window, operand(x, layout)?, |x, y| {
            vectorized(Maxima { pool: self, x, y });
        });
        Ok(output(y, pooled_shape(&self.window, layout)))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (in_plane, out_plane) = (self.window.in_plane(), self.window.out_plane());
        let (x_host, y_host, dy_host) = (host(x)?, host(y)?, host(&dy)?);
        let mut dx = vec![0.0; x.elem_count()];
        let planes = dx.par_chunks_mut(in_plane).zip(x_host.par_chunks(in_plane));
        let outputs = y_host.par_chunks(out_plane).zip(dy_host.par_chunks(out_plane));
        let scratch = || vec![0.0; out_plane];
        let planes = planes.zip(outputs).with_min_len(ELEMENTS.div_ceil(in_plane));
        planes.for_each_init(scratch, |open, ((dx, x), (y, dy))| {
            vectorized(Winners { pool: self, x, y, dy, dx, open });
        });
        Ok(Some(tensor(dx, x)?))
    }
}

struct AvgPool {
    window: Window,
    count_padding: bool,
}

impl AvgPool {
    fn divisor(&self, covered: usize) -> f32 {
        if self.count_padding { self.window.taps() as f32 } else { covered as f32 }
    }
}

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let width = self.window.input[1];
        let y = map_planes(&self.window, operand(x, layout)?, |x, y| {
            each_window(&self.window, |at, rows, cols| {
                let divisor = self.divisor(rows.len() * cols.len());
                let row = |y: usize| x[y * width..][cols.clone()].iter().sum::<f32>();
                y[at] = rows.map(row).sum::<f32>() / divisor;
            });
        });
        Ok(output(y, pooled_shape(&self.window, layout)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dy = host(&dy)?;
        let (in_plane, out_plane) = (self.window.in_plane(), self.window.out_plane());
        let width = self.window.input[1];
        let mut dx = vec![0.0; x.elem_count()];
        let planes = dx.par_chunks_mut(in_plane).zip(dy.par_chunks(out_plane));
        planes.with_min_len(ELEMENTS.div_ceil(in_plane)).for_each(|(dx, dy)| {
            each_window(&self.window, |at, rows, cols| {
                let share = dy[at] / self.divisor(rows.len() * cols.len());
                for y in rows {
                    for dx in &mut dx[y * width..][cols.clone()] {
                        *dx += share;
                    }
                }
            });
        });
        Ok(Some(tensor(dx, x)?))
    }
}
