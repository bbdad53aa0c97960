//! The gradients of a convolution: sums of products of the same planes.

use std::ops::Range;

use super::conv2d::Conv2d;
use super::planes::Planes;
use super::product::{Left, Right, Rows, Target, product, rows, sums_of_products};

/// Bytes of planes that are laid out at once: half of a small second-level cache.
const BLOCK_BYTES: usize = 512 << 10;

/// The pass for one set of weights.
pub(super) struct Backward<'a> {
    op: &'a Conv2d,
    weights: &'a [f32],
    planes: Option<PlanesPass>,
}

/// What a window with more than one kernel position, a stride or padding needs.
struct PlanesPass {
    planes: Planes,
    /// For each phase of the input's gradient, group by group `[c_in, (c_out, taps of the phase)]`.
    weights: Vec<Vec<f32>>,
    /// Where runs begin: of the input's kernel positions and of the gradient's channels.
    taps: Vec<usize>,
    gradients: Vec<usize>,
    /// For each phase of the input's gradient, where its runs begin.
    phases: Vec<Vec<usize>>,
}

impl<'a> Backward<'a> {
    pub(super) fn new(op: &'a Conv2d, weights: &'a [f32]) -> Self {
        let planes = (!op.window.is_pointwise()).then(|| PlanesPass::new(op, weights));
        Self { op, weights, planes }
    }

    /// `∂w` of some samples; writes their `∂x` unless `dx` is empty.
    pub(super) fn part(
        &self,
        x: &[f32],
        dy: &[f32],
        samples: Range<usize>,
        dx: &mut [f32],
    ) -> Vec<f32> {
        let mut dw = vec![0.0; self.weights.len()];
        let (c_in, c_out) = self.op.of_group();
        let (in_plane, out_plane) = (self.op.window.in_plane(), self.op.window.out_plane());
        let in_sample = self.op.groups * c_in * in_plane;
        let out_sample = self.op.groups * c_out * out_plane;
        let elements = match &self.planes {
            Some(pass) => c_in * pass.planes.channel() + c_out * pass.planes.gradient_channel(),
            None => c_in * in_plane + c_out * out_plane,
        };
        let block = (BLOCK_BYTES / (4 * elements.max(1))).clamp(1, samples.len().max(1));
        let mut scratch = self.planes.as_ref().map(|pass| pass.scratch(c_in, c_out, block));
        for first in samples.clone().step_by(block) {
            let count = block.min(samples.end - first);
            let x = &x[first * in_sample..][..count * in_sample];
            let dy = &dy[first * out_sample..][..count * out_sample];
            let dx = if dx.is_empty() {
                None
            } else {
                Some(&mut dx[(first - samples.start) * in_sample..][..count * in_sample])
            };
            match (&self.planes, &mut scratch) {
                (Some(pass), Some(scratch)) => {
                    pass.block(self.op, (x, dy, count), dx, &mut dw, scratch);
                }
                _ => self.pointwise(x, dy, count, dx, &mut dw),
            }
        }
        dw
    }

    /// Both sides as they are.
    fn pointwise(
        &self,
        x: &[f32],
        dy: &[f32],
        count: usize,
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (c_in, c_out) = self.op.of_group();
        let plane = self.op.window.in_plane();
        let (in_rows, out_rows) = (rows(c_in, plane), rows(c_out, plane));
        let (in_sample, out_sample) =
            (self.op.groups * c_in * plane, self.op.groups * c_out * plane);
        for group in 0..self.op.groups {
            let weights = group * c_in * c_out..(group + 1) * c_in * c_out;
            let (x_at, dy_at) = (group * c_in * plane, group * c_out * plane);
            let left = Rows { values: &dy[dy_at..], starts: &out_rows, block: out_sample };
            let right = Rows { values: &x[x_at..], starts: &in_rows, block: in_sample };
            sums_of_products(left, right, (count, plane), &mut dw[weights.clone()]);
            let Some(dx) = &mut dx else { continue };
            for sample in 0..count {
                let left = Left { values: &self.weights[weights.clone()], row: 1, column: c_in };
                let right = Right { values: &dy[sample * out_sample + dy_at..], rows: &out_rows };
                let values = &mut dx[sample * in_sample + x_at..][..c_in * plane];
                product(left, right, (c_in, plane), Target { values, stride: plane }, false);
            }
        }
    }
}

/// Planes of a block of samples, laid out, and the runs of one sample's `∂x`.
struct Scratch {
    x: Vec<f32>,
    dy: Vec<f32>,
    runs: Vec<f32>,
}

impl PlanesPass {
    fn new(op: &Conv2d, weights: &[f32]) -> Self {
        let (c_in, c_out) = op.of_group();
        let taps = op.window.taps();
        let planes = Planes::new(op.window);
        let packed = |phase: super::planes::Backward<'_>| -> Vec<f32> {
            let mut packed = Vec::new();
            for group in weights.chunks_exact((c_out * c_in * taps).max(1)) {
                for c in 0..c_in {
                    for out in group.chunks_exact(c_in * taps) {
                        packed.extend(phase.taps().map(|tap| out[c * taps + tap]));
                    }
                }
            }
            packed
        };
        Self {
            weights: planes.backward().map(packed).collect(),
            taps: planes.taps(c_in),
            gradients: planes.gradients(c_out),
            phases: planes.backward().map(|phase| phase.rows(c_out)).collect(),
            planes,
        }
    }

    fn scratch(&self, c_in: usize, c_out: usize, block: usize) -> Scratch {
        let longest = self.planes.backward().map(|phase| phase.run()).max().unwrap_or(0);
        Scratch {
            x: vec![0.0; block * c_in * self.planes.channel()],
            dy: vec![0.0; block * c_out * self.planes.gradient_channel()],
            runs: vec![0.0; c_in * longest],
        }
    }

    /// Adds `∂w` of a block of `count` samples and writes their `∂x`.
    fn block(
        &self,
        op: &Conv2d,
        (x, dy, count): (&[f32], &[f32], usize),
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (c_in, c_out) = op.of_group();
        let depth = c_in * op.window.taps();
        let (in_group, out_group) = (c_in * op.window.in_plane(), c_out * op.window.out_plane());
        let (in_sample, out_sample) = (op.groups * in_group, op.groups * out_group);
        let planes = &self.planes;
        let (x_len, dy_len) = (c_in * planes.channel(), c_out * planes.gradient_channel());
        for group in 0..op.groups {
            for sample in 0..count {
                let x = &x[sample * in_sample + group * in_group..][..in_group];
                planes.fill(x, &mut scratch.x[sample * x_len..][..x_len]);
                let dy = &dy[sample * out_sample + group * out_group..][..out_group];
                planes.fill_gradient(dy, &mut scratch.dy[sample * dy_len..][..dy_len]);
            }
            let left = Rows { values: &scratch.dy, starts: &self.gradients, block: dy_len };
            let right = Rows { values: &scratch.x, starts: &self.taps, block: x_len };
            let dw = &mut dw[group * c_out * depth..][..c_out * depth];
            sums_of_products(left, right, (count, planes.run()), dw);
            let Some(dx) = &mut dx else { continue };
            for sample in 0..count {
                let dy = &scratch.dy[sample * dy_len..][..dy_len];
                let dx = &mut dx[sample * in_sample + group * in_group..][..in_group];
                let phases = self.phases.iter().zip(&self.weights).zip(planes.backward());
                for ((rows, weights), phase) in phases {
                    let values = &weights[group * c_in * rows.len()..][..c_in * rows.len()];
                    let left = Left { values, row: rows.len(), column: 1 };
                    let run = phase.run();
                    let runs = &mut scratch.runs[..c_in * run];
                    let target = Target { values: runs, stride: run };
                    product(left, Right { values: dy, rows }, (c_in, run), target, false);
                    phase.place(runs, dx);
                }
            }
        }
    }
}
