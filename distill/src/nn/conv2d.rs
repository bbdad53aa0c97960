//! 2-D convolution, of groups and depthwise too, by products of shifted planes, with hand-written
//! gradients.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor,
};
use rayon::prelude::*;

use super::buffer::{channel_sums, host, on_host, operand, output, tensor};
use super::conv2d_backward::Backward;
use super::planes::Planes;
use super::product::{Left, Right, Target, product, rows};
use super::window::Window;
use super::{Precision, composed};
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
        Some(bias) => x.apply_op3(&w, &bias.contiguous()?, op)?,
        None => x.apply_op2(&w, op)?,
    };
    Ok(y)
}

/// The operator with its shapes, checked.
pub(super) struct Conv2d {
    pub(super) window: Window,
    n: usize,
    c_in: usize,
    c_out: usize,
    pub(super) groups: usize,
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

    fn shape(&self) -> (usize, usize, usize, usize) {
        let [out_h, out_w] = self.window.output;
        (self.n, self.c_out, out_h, out_w)
    }

    /// Channels of a group, in and out.
    pub(super) fn of_group(&self) -> (usize, usize) {
        (self.c_in / self.groups, self.c_out / self.groups)
    }

    fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (c_in, c_out) = self.of_group();
        let (in_group, out_group) =
            (c_in * self.window.in_plane(), c_out * self.window.out_plane());
        let depth = c_in * self.window.taps();
        let mut y = vec![0.0; self.n * self.groups * out_group];
        let samples = y.par_chunks_mut((self.groups * out_group).max(1));
        let samples = samples.zip(x.par_chunks((self.groups * in_group).max(1)));
        let left = |group: usize| {
            let values = &w[group * c_out * depth..][..c_out * depth];
            Left { values, row: depth, column: 1 }
        };
        let bias = |group: usize| bias.map(|bias| &bias[group * c_out..][..c_out]);
        if self.window.is_pointwise() {
            let plane = self.window.out_plane();
            let rows = rows(c_in, plane);
            samples.for_each(|(y, x)| {
                let groups = y.chunks_exact_mut(out_group).zip(x.chunks_exact(in_group));
                for (group, (y, x)) in groups.enumerate() {
                    let right = Right { values: x, rows: &rows };
                    let target = Target { values: y, stride: plane };
                    product(left(group), right, (c_out, plane), target, false);
                    add_bias(y, bias(group), plane);
                }
            });
            return y;
        }
        let planes = Planes::new(self.window);
        let (taps, run) = (planes.taps(c_in), planes.run());
        let scratch = || (vec![0.0; c_in * planes.channel()], vec![0.0; c_out * run]);
        samples.for_each_init(scratch, |(padded, runs), (y, x)| {
            let groups = y.chunks_exact_mut(out_group).zip(x.chunks_exact(in_group));
            for (group, (y, x)) in groups.enumerate() {
                planes.fill(x, padded);
                let right = Right { values: padded, rows: &taps };
                let target = Target { values: runs, stride: run };
                product(left(group), right, (c_out, run), target, false);
                planes.pick(runs, y);
                add_bias(y, bias(group), self.window.out_plane());
            }
        });
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
        let pass = Backward::new(self, w);
        let partial: Vec<Vec<f32>> = dx_parts
            .into_par_iter()
            .enumerate()
            .map(|(part, dx)| pass.part(x, dy, parts.range(part), dx))
            .collect();
        (dx, add_in_order(partial, w.len()))
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

fn add_bias(y: &mut [f32], bias: Option<&[f32]>, plane: usize) {
    for (y, bias) in y.chunks_exact_mut(plane).zip(bias.unwrap_or_default()) {
        for y in y {
            *y += bias;
        }
    }
}

/// A split of a batch that depends on shapes alone, so that partial sums added in order give
/// the same bits for any number of threads.
struct Parts {
    count: usize,
    samples: usize,
    n: usize,
}

impl Parts {
    /// At most 16 parts, fewer where 16 copies of the weights would pass 64 MiB.
    fn new(n: usize, weights: usize) -> Self {
        let affordable = (64 << 20) / (4 * weights.max(1));
        let samples = n.div_ceil(affordable.clamp(1, 16)).max(1);
        Self { count: n.div_ceil(samples), samples, n }
    }

    /// The samples of a part.
    fn range(&self, part: usize) -> std::ops::Range<usize> {
        part * self.samples..((part + 1) * self.samples).min(self.n)
    }
}

/// Adds partial gradients, first to last.
fn add_in_order(partial: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut partial = partial.into_iter();
    let mut sum = partial.next().unwrap_or_else(|| vec![0.0; len]);
    for part in partial {
        for (sum, v) in sum.iter_mut().zip(part) {
            *sum += v;
        }
    }
    sum
}
