//! 2-D convolution by im2col and matrix products, with hand-written gradients.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor,
};
use rayon::prelude::*;

use super::buffer::{channel_sums, host, on_host, operand, output, tensor};
use super::gemm::{Matrix, gemm};
use super::im2col::{add_col2im, im2col};
use super::window::Window;
use super::{Precision, composed, depthwise};
use crate::{Error, ErrorKind, Result};

/// How a convolution kernel moves over its input; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dSpec {
    /// Step between neighbouring outputs.
    pub stride: [usize; 2],
    /// Zeros added at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// Distance between neighbouring kernel positions.
    pub dilation: [usize; 2],
    /// Number of groups of channels that do not see each other.
    pub groups: usize,
    /// Of products on a GPU.
    pub precision: Precision,
}

impl Default for Conv2dSpec {
    fn default() -> Self {
        let precision = Precision::default();
        Self { stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1, precision }
    }
}

/// Convolves `x [n, c_in, h, w]` with `w [c_out, c_in / groups, kh, kw]` and adds `bias [c_out]`.
///
/// Returns `[n, c_out, out_h, out_w]`. Cross-correlation, as in PyTorch. Gradients flow to all
/// three; the input's is not computed where nothing needs it. On the CPU the result does not
/// depend on the number of threads.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, spec: &Conv2dSpec) -> Result<Tensor> {
    let op = Conv2d::new(x, w, bias, spec)?;
    if !on_host(x) {
        return composed::conv2d(x, w, bias, spec);
    }
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let y = match bias {
        _ if op.is_depthwise() => {
            let y = x.apply_op2(&w, depthwise::Depthwise::new(op.window, op.c_in))?;
            return Ok(match bias {
                Some(bias) => y.broadcast_add(&bias.reshape((1, op.c_out, 1, 1))?)?,
                None => y,
            });
        }
        Some(bias) => x.apply_op3(&w, &bias.contiguous()?, op)?,
        None => x.apply_op2(&w, op)?,
    };
    Ok(y)
}

/// The operator with its shapes, checked.
struct Conv2d {
    window: Window,
    n: usize,
    c_in: usize,
    c_out: usize,
    groups: usize,
}

impl Conv2d {
    fn new(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, spec: &Conv2dSpec) -> Result<Self> {
        let fail = |message| Err(Error::new(ErrorKind::Shape, "conv2d", message));
        let (&[n, c_in, h, width], &[c_out, c_group, kh, kw]) = (x.dims(), w.dims()) else {
            return fail(format!(
                "expected input [n, c, h, w] and weights [out, in, kh, kw], got {:?} and {:?}",
                x.dims(),
                w.dims()
            ));
        };
        let groups = spec.groups;
        if groups == 0 || c_in % groups != 0 || c_out % groups != 0 || c_in / groups != c_group {
            return fail(format!(
                "{c_in} input channels, {c_out} output channels and {groups} groups do not fit \
                 weights {:?}",
                w.dims()
            ));
        }
        if let Some(bias) = bias
            && bias.dims() != [c_out]
        {
            return fail(format!("bias {:?} does not fit {c_out} channels", bias.dims()));
        }
        let window =
            Window::new("conv2d", [h, width], [kh, kw], spec.stride, spec.padding, spec.dilation)?;
        Ok(Self { window, n, c_in, c_out, groups })
    }

    fn is_depthwise(&self) -> bool {
        self.groups == self.c_in && self.c_in == self.c_out && self.groups > 1
    }

    /// Rows of one group's lowered input: input channels of the group × kernel positions.
    fn depth(&self) -> usize {
        self.c_in / self.groups * self.window.taps()
    }

    /// Values in one group's lowered input; 0 where the input itself serves.
    fn columns(&self) -> usize {
        if self.window.is_pointwise() { 0 } else { self.depth() * self.window.out_plane() }
    }

    /// One group's input as a matrix `[depth, out_plane]`.
    fn lower<'a>(&self, x: &'a [f32], columns: &'a mut [f32]) -> Matrix<'a> {
        let data = if self.window.is_pointwise() {
            x
        } else {
            im2col(&self.window, x, columns);
            columns
        };
        Matrix::new(data, self.depth(), self.window.out_plane())
    }

    fn shape(&self) -> (usize, usize, usize, usize) {
        let [out_h, out_w] = self.window.output;
        (self.n, self.c_out, out_h, out_w)
    }

    fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let plane = self.window.out_plane();
        let rows = self.c_out / self.groups;
        let in_group = self.c_in / self.groups * self.window.in_plane();
        let mut y = vec![0.0; self.n * self.c_out * plane];
        y.par_chunks_mut((self.c_out * plane).max(1)).enumerate().for_each_init(
            || vec![0.0; self.columns()],
            |columns, (sample, y)| {
                for group in 0..self.groups {
                    let y = &mut y[group * rows * plane..][..rows * plane];
                    if let Some(bias) = bias {
                        for (y, &b) in y.chunks_exact_mut(plane).zip(&bias[group * rows..]) {
                            y.fill(b);
                        }
                    }
                    let x = &x[(sample * self.groups + group) * in_group..][..in_group];
                    let w = &w[group * rows * self.depth()..][..rows * self.depth()];
                    let w = Matrix::new(w, rows, self.depth());
                    gemm(y, w, self.lower(x, columns), bias.is_some());
                }
            },
        );
        y
    }

    /// `(∂x, ∂w)`; the first is empty unless `need_x`.
    fn backward(&self, x: &[f32], w: &[f32], dy: &[f32], need_x: bool) -> (Vec<f32>, Vec<f32>) {
        let in_sample = self.c_in * self.window.in_plane();
        let parts = Parts::new(self.n, w.len());
        let mut dx = vec![0.0; if need_x { x.len() } else { 0 }];
        let mut dx_parts: Vec<&mut [f32]> =
            dx.chunks_mut((parts.samples * in_sample).max(1)).collect();
        dx_parts.resize_with(parts.count, Default::default);
        let partial: Vec<Vec<f32>> = dx_parts
            .into_par_iter()
            .enumerate()
            .map(|(part, dx)| {
                let mut dw = vec![0.0; w.len()];
                let mut columns = vec![0.0; self.columns()];
                let mut d_columns = vec![0.0; if need_x { self.columns() } else { 0 }];
                let range = parts.range(part);
                for sample in range.clone() {
                    for group in 0..self.groups {
                        let dx = if need_x {
                            let in_group = in_sample / self.groups;
                            let at = (sample - range.start) * in_sample + group * in_group;
                            Some((&mut dx[at..at + in_group], &mut d_columns[..]))
                        } else {
                            None
                        };
                        self.backward_group(sample, group, (x, w, dy), &mut dw, dx, &mut columns);
                    }
                }
                dw
            })
            .collect();
        (dx, add_in_order(partial, w.len()))
    }

    /// Adds one sample's share of one group to `dw` and, with it, writes the group's `∂x`.
    fn backward_group(
        &self,
        sample: usize,
        group: usize,
        (x, w, dy): (&[f32], &[f32], &[f32]),
        dw: &mut [f32],
        dx: Option<(&mut [f32], &mut [f32])>,
        columns: &mut [f32],
    ) {
        let (plane, depth) = (self.window.out_plane(), self.depth());
        let rows = self.c_out / self.groups;
        let in_group = self.c_in / self.groups * self.window.in_plane();
        let x = &x[(sample * self.groups + group) * in_group..][..in_group];
        let dy = &dy[(sample * self.groups + group) * rows * plane..][..rows * plane];
        let dy = Matrix::new(dy, rows, plane);
        let weights = group * rows * depth..(group + 1) * rows * depth;
        gemm(&mut dw[weights.clone()], dy, self.lower(x, columns).t(), true);
        let Some((dx, d_columns)) = dx else { return };
        let w = Matrix::new(&w[weights], rows, depth).t();
        if self.window.is_pointwise() {
            gemm(dx, w, dy, false);
        } else {
            gemm(d_columns, w, dy, false);
            add_col2im(&self.window, d_columns, dx);
        }
    }

    fn gradients(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Tensor)> {
        let dy = dy.contiguous()?;
        let need_x = x.track_op();
        let (dx, dw) = self.backward(&host(x)?, &host(w)?, &host(&dy)?, need_x);
        let dx = if need_x { Some(tensor(dx, x)?) } else { None };
        Ok((dx, tensor(dw, w)?))
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let y = self.forward(operand(x, x_layout)?, operand(w, w_layout)?, None);
        Ok(output(y, self.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, dy)?;
        Ok((dx, Some(dw)))
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let bias = operand(bias, bias_layout)?;
        let y = self.forward(operand(x, x_layout)?, operand(w, w_layout)?, Some(bias));
        Ok(output(y, self.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = self.gradients(x, w, &dy)?;
        let db = channel_sums(&host(&dy)?, self.c_out, self.window.out_plane());
        Ok((dx, Some(dw), Some(tensor(db, bias)?)))
    }
}

/// A split of a batch that depends on shapes alone, so that partial sums added in order give
/// the same bits for any number of threads.
pub(super) struct Parts {
    pub(super) count: usize,
    pub(super) samples: usize,
    n: usize,
}

impl Parts {
    /// At most 16 parts, fewer where 16 copies of the weights would pass 64 MiB.
    pub(super) fn new(n: usize, weights: usize) -> Self {
        let affordable = (64 << 20) / (4 * weights.max(1));
        let samples = n.div_ceil(affordable.clamp(1, 16)).max(1);
        Self { count: n.div_ceil(samples), samples, n }
    }

    /// The samples of a part.
    pub(super) fn range(&self, part: usize) -> std::ops::Range<usize> {
        part * self.samples..((part + 1) * self.samples).min(self.n)
    }
}

/// Adds partial gradients, first to last.
pub(super) fn add_in_order(partial: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut partial = partial.into_iter();
    let mut sum = partial.next().unwrap_or_else(|| vec![0.0; len]);
    for part in partial {
        for (sum, v) in sum.iter_mut().zip(part) {
            *sum += v;
        }
    }
    sum
}
