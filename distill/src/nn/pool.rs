//! Maximum and average pooling with hand-written gradients (candle's are wrong or missing).

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::composed;
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
    Ok(x.contiguous()?.apply_op1(MaxPool(spec.window(x)?))?)
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
fn each_window(
    window: &Window,
    mut f: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let [out_h, out_w] = window.output;
    for y in 0..out_h {
        for x in 0..out_w {
            f(y * out_w + x, window.covered(0, y), window.covered(1, x));
        }
    }
}

/// Applies `f(input plane, output plane)` to all planes in parallel.
fn map_planes(window: &Window, x: &[f32], f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let (in_plane, out_plane) = (window.in_plane(), window.out_plane());
    let mut y = vec![0.0; x.len() / in_plane * out_plane];
    y.par_chunks_mut(out_plane).zip(x.par_chunks(in_plane)).for_each(|(y, x)| f(x, y));
    y
}

fn pooled_shape(window: &Window, layout: &Layout) -> Vec<usize> {
    let mut shape = layout.dims().to_vec();
    shape.splice(2.., window.output);
    shape
}

struct MaxPool(Window);

impl MaxPool {
    /// Where the first maximum (or the first NaN) of a window lies in the plane.
    fn winner(
        &self,
        plane: &[f32],
        rows: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
    ) -> usize {
        let width = self.0.input[1];
        let mut best = rows.start * width + cols.start;
        for y in rows {
            for at in y * width + cols.start..y * width + cols.end {
                let (v, highest) = (plane[at], plane[best]);
                if v > highest || (v.is_nan() && !highest.is_nan()) {
                    best = at;
                }
            }
        }
        best
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let y = map_planes(&self.0, operand(x, layout)?, |x, y| {
            each_window(&self.0, |at, rows, cols| y[at] = x[self.winner(x, rows, cols)]);
        });
        Ok(output(y, pooled_shape(&self.0, layout)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (in_plane, out_plane) = (self.0.in_plane(), self.0.out_plane());
        let (x_host, dy_host) = (host(x)?, host(&dy)?);
        let mut dx = vec![0.0; x.elem_count()];
        let planes = dx.par_chunks_mut(in_plane).zip(x_host.par_chunks(in_plane));
        planes.zip(dy_host.par_chunks(out_plane)).for_each(|((dx, x), dy)| {
            each_window(&self.0, |at, rows, cols| dx[self.winner(x, rows, cols)] += dy[at]);
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
        dx.par_chunks_mut(in_plane).zip(dy.par_chunks(out_plane)).for_each(|(dx, dy)| {
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
