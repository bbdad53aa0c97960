//! Views of candle tensors as `f32` slices in main memory, for the operators of this module.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};
use hipflask_runtime::kernels::Body;
use rayon::prelude::*;

use super::simd::vectorized;

/// The values that `layout` selects from an operand of a custom operator.
pub(crate) fn operand<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    match range.and_then(|range| values.get(range)) {
        Some(values) => Ok(values),
        None => bail!("a training operator got a non-contiguous tensor {:?}", layout.shape()),
    }
}

/// The values of a contiguous `f32` tensor in main memory.
pub(crate) fn host(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    let view = StorageRef::try_map(storage, |storage| match (storage, range) {
        (Storage::Cpu(CpuStorage::F32(values)), Some(range)) => values.get(range),
        _ => None,
    });
    match view {
        Ok(view) => Ok(view),
        Err(_) => bail!("expected a contiguous f32 tensor in main memory, got {tensor:?}"),
    }
}

/// A tensor on the CPU with the shape of `like`.
pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape().clone(), like.device())
}

/// What a custom operator's forward pass returns.
pub(super) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Whether our own operators apply: `f32` in main memory. Elsewhere `composed` is used.
pub(crate) fn on_host(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

const LANES: usize = 16;

/// `(Σ f(a, b).0, Σ f(a, b).1)` over the planes of channel `c` of `a` and `b [n, channels, plane]`:
/// of a plane in sixteen fixed lanes, planes in order in f64.
pub(super) struct PairSums<'a, F> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) channels: usize,
    pub(super) plane: usize,
    pub(super) c: usize,
    pub(super) f: F,
}

impl<F: Fn(f32, f32) -> (f32, f32)> Body for PairSums<'_, F> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run(self) -> (f64, f64) {
        let Self { a, b, channels, plane, c, f } = self;
        let sample = channels * plane;
        let mut total = (0.0, 0.0);
        for (a, b) in a.chunks_exact(sample).zip(b.chunks_exact(sample)) {
            let (a, b) = (&a[c * plane..][..plane], &b[c * plane..][..plane]);
            let (a_lanes, a_tail) = a.as_chunks::<LANES>();
            let (b_lanes, b_tail) = b.as_chunks::<LANES>();
            let (mut first, mut second) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            for (a, b) in a_lanes.iter().zip(b_lanes) {
                for lane in 0..LANES {
                    let (p, q) = f(a[lane], b[lane]);
                    first[lane] += p;
                    second[lane] += q;
                }
            }
            for (lane, (&a, &b)) in a_tail.iter().zip(b_tail).enumerate() {
                let (p, q) = f(a, b);
                first[lane] += p;
                second[lane] += q;
            }
            // In halves: a sum across the vector in four additions.
            let mut width = LANES;
            while width > 1 {
                width /= 2;
                for lane in 0..width {
                    first[lane] += first[lane + width];
                    second[lane] += second[lane + width];
                }
            }
            total.0 += f64::from(first[0]);
            total.1 += f64::from(second[0]);
        }
        total
    }
}

/// Sums of each channel of `[n, c, plane]`, samples added in order in f64.
pub(super) fn channel_sums(values: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    if plane == 1 {
        return row_sums(values, channels);
    }
    if plane == 0 {
        return vec![0.0; channels];
    }
    let of_channel = |c| {
        let f = |v, _| (v, 0.0);
        vectorized(PairSums { a: values, b: values, channels, plane, c, f }).0 as f32
    };
    (0..channels).into_par_iter().map(of_channel).collect()
}

/// Sums of the columns of rows of `width`: of 64 rows in f32, these in f64.
fn row_sums(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; width];
    let mut part = vec![0.0_f32; width];
    for rows in values.chunks((64 * width).max(1)) {
        part.fill(0.0);
        for row in rows.chunks_exact(width) {
            part.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        sums.iter_mut().zip(&part).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
