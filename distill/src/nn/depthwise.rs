//! Depthwise convolution, computed directly, with hand-written gradients.
//!
//! A padded plane is treated as one long row: with its width as the line pitch, every kernel
//! position is a constant shift, so all inner loops run over contiguous memory. Strided outputs
//! are picked from the stride-1 row afterwards.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{dot, host, operand, output, tensor};
use super::conv2d::{Parts, add_in_order};
use super::window::Window;

/// Convolves each of `channels` planes with its own kernel; `w` is `[channels, 1, kh, kw]`.
pub(super) struct Depthwise {
    window: Window,
    channels: usize,
    /// Shift of each kernel position in the padded row.
    shifts: Vec<usize>,
    /// Size of the padded plane.
    padded: [usize; 2],
    /// Length of the stride-1 row that contains all outputs.
    row: usize,
}

impl Depthwise {
    pub(super) fn new(window: Window, channels: usize) -> Self {
        let [top, left, bottom, right] = window.padding;
        let padded = [window.input[0] + top + bottom, window.input[1] + left + right];
        let [dy, dx] = window.dilation;
        let [kh, kw] = window.kernel;
        let shifts = (0..kh * kw).map(|tap| tap / kw * dy * padded[1] + tap % kw * dx).collect();
        let last = |axis: usize| (window.output[axis] - 1) * window.stride[axis];
        let row = last(0) * padded[1] + last(1) + 1;
        Self { window, channels, shifts, padded, row }
    }

    fn last_shift(&self) -> usize {
        self.shifts.last().copied().unwrap_or(0)
    }

    /// Copies a plane into the middle of the padded one, whose border stays zero.
    fn pad(&self, x: &[f32], padded: &mut [f32]) {
        let [top, left, ..] = self.window.padding;
        let width = self.window.input[1].max(1);
        for (y, line) in x.chunks_exact(width).enumerate() {
            padded[(y + top) * self.padded[1] + left..][..width].copy_from_slice(line);
        }
    }

    /// Picks the outputs from the stride-1 row.
    fn pick(&self, row: &[f32], out: &mut [f32]) {
        let [stride_y, stride_x] = self.window.stride;
        for (y, out) in out.chunks_exact_mut(self.window.output[1]).enumerate() {
            let from = &row[y * stride_y * self.padded[1]..];
            if stride_x == 1 {
                out.copy_from_slice(&from[..out.len()]);
            } else {
                for (out, &v) in out.iter_mut().zip(from.iter().step_by(stride_x)) {
                    *out = v;
                }
            }
        }
    }

    /// The transpose of [`pick`](Self::pick): other places of `row` keep their zeros.
    fn place(&self, out: &[f32], row: &mut [f32]) {
        let [stride_y, stride_x] = self.window.stride;
        for (y, out) in out.chunks_exact(self.window.output[1]).enumerate() {
            let to = &mut row[y * stride_y * self.padded[1]..];
            if stride_x == 1 {
                to[..out.len()].copy_from_slice(out);
            } else {
                for (to, &v) in to.iter_mut().step_by(stride_x).zip(out) {
                    *to = v;
                }
            }
        }
    }

    fn forward(&self, x: &[f32], w: &[f32]) -> Vec<f32> {
        let (in_plane, out_plane) = (self.window.in_plane(), self.window.out_plane());
        let taps = self.window.taps();
        let n = x.len() / (self.channels * in_plane).max(1);
        let mut y = vec![0.0; n * self.channels * out_plane];
        y.par_chunks_mut(self.channels * out_plane).enumerate().for_each_init(
            || (vec![0.0; self.padded[0] * self.padded[1]], vec![0.0; self.row]),
            |(padded, row), (sample, y)| {
                for (c, y) in y.chunks_exact_mut(out_plane).enumerate() {
                    self.pad(&x[(sample * self.channels + c) * in_plane..][..in_plane], padded);
                    weighted_sum(row, padded, &self.shifts, &w[c * taps..][..taps]);
                    self.pick(row, y);
                }
            },
        );
        y
    }

    /// `(∂x, ∂w)`; the first is empty unless `need_x`.
    fn backward(&self, x: &[f32], w: &[f32], dy: &[f32], need_x: bool) -> (Vec<f32>, Vec<f32>) {
        let sample_len = self.channels * self.window.in_plane();
        let parts = Parts::new(x.len() / sample_len.max(1), w.len());
        let mut dx = vec![0.0; if need_x { x.len() } else { 0 }];
        let mut dx_parts: Vec<&mut [f32]> =
            dx.chunks_mut((parts.samples * sample_len).max(1)).collect();
        dx_parts.resize_with(parts.count, Default::default);
        let partial = dx_parts
            .into_par_iter()
            .enumerate()
            .map(|(part, dx)| self.backward_part((x, w, dy), parts.range(part), dx))
            .collect();
        (dx, add_in_order(partial, w.len()))
    }

    /// `∂w` of some samples; writes their `∂x` unless `dx` is empty.
    fn backward_part(
        &self,
        (x, w, dy): (&[f32], &[f32], &[f32]),
        samples: std::ops::Range<usize>,
        dx: &mut [f32],
    ) -> Vec<f32> {
        let (in_plane, out_plane) = (self.window.in_plane(), self.window.out_plane());
        let taps = self.window.taps();
        let plane = self.padded[0] * self.padded[1];
        // ∂x is a convolution with the flipped kernel: leading zeros keep its shifts positive.
        let lead = self.last_shift();
        let flipped: Vec<usize> = self.shifts.iter().map(|shift| lead - shift).collect();
        let mut padded = vec![0.0; plane];
        let mut spread = vec![0.0; lead + plane];
        let mut d_padded = vec![0.0; plane];
        let mut dw = vec![0.0; w.len()];
        let [top, left, ..] = self.window.padding;
        let width = self.window.input[1].max(1);
        for (i, sample) in samples.enumerate() {
            for c in 0..self.channels {
                let at = sample * self.channels + c;
                self.pad(&x[at * in_plane..][..in_plane], &mut padded);
                self.place(&dy[at * out_plane..][..out_plane], &mut spread[lead..]);
                for (dw, &shift) in dw[c * taps..][..taps].iter_mut().zip(&self.shifts) {
                    *dw += dot(&spread[lead..][..self.row], &padded[shift..][..self.row]);
                }
                if dx.is_empty() {
                    continue;
                }
                weighted_sum(&mut d_padded, &spread, &flipped, &w[c * taps..][..taps]);
                let dx = &mut dx[(i * self.channels + c) * in_plane..][..in_plane];
                for (y, dx) in dx.chunks_exact_mut(width).enumerate() {
                    dx.copy_from_slice(&d_padded[(y + top) * self.padded[1] + left..][..width]);
                }
            }
        }
        dw
    }
}

/// `out[i] = Σ_t w[t] · from[shifts[t] + i]`, three terms a pass to save memory traffic.
fn weighted_sum(out: &mut [f32], from: &[f32], shifts: &[usize], w: &[f32]) {
    let len = out.len();
    let at = |shift: usize| &from[shift..shift + len];
    out.fill(0.0);
    for (shifts, w) in shifts.chunks(3).zip(w.chunks(3)) {
        match (shifts, w) {
            (&[s0, s1, s2], &[w0, w1, w2]) => {
                for (((out, a), b), c) in out.iter_mut().zip(at(s0)).zip(at(s1)).zip(at(s2)) {
                    *out += w0 * a + w1 * b + w2 * c;
                }
            }
            _ => {
                for (&shift, &w) in shifts.iter().zip(w) {
                    for (out, v) in out.iter_mut().zip(at(shift)) {
                        *out += w * v;
                    }
                }
            }
        }
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(operand(x, x_layout)?, operand(w, w_layout)?);
        let [out_h, out_w] = self.window.output;
        Ok(output(y, (x_layout.dims()[0], self.channels, out_h, out_w)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let need_x = x.track_op();
        let (dx, dw) = self.backward(&host(x)?, &host(w)?, &host(&dy)?, need_x);
        let dx = if need_x { Some(tensor(dx, x)?) } else { None };
        Ok((dx, Some(tensor(dw, w)?)))
    }
}
