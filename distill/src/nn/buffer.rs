//! Views of candle tensors as `f32` slices in main memory, for the operators of this module.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};

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

/// `Σ a·b` over sixteen fixed lanes, so the order of additions does not depend on the machine.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_tail) = a.as_chunks::<LANES>();
    let (b_lanes, b_tail) = b.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
            *acc += a * b;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    acc.iter().sum::<f32>() + tail
}

/// `(Σ f(i), Σ g(i))` of the pairs that `f` yields for `(a, b)`, over sixteen fixed lanes.
pub(super) fn pair_sums(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> (f32, f32)) -> (f32, f32) {
    let (a_lanes, a_tail) = a.as_chunks::<LANES>();
    let (b_lanes, b_tail) = b.as_chunks::<LANES>();
    let (mut first, mut second) = ([0.0; LANES], [0.0; LANES]);
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            let (p, q) = f(a[lane], b[lane]);
            first[lane] += p;
            second[lane] += q;
        }
    }
    let (mut p_sum, mut q_sum) = (first.iter().sum::<f32>(), second.iter().sum::<f32>());
    for (&a, &b) in a_tail.iter().zip(b_tail) {
        let (p, q) = f(a, b);
        p_sum += p;
        q_sum += q;
    }
    (p_sum, q_sum)
}

/// Sums of each channel of `[n, c, plane]`, samples added in order in f64.
pub(super) fn channel_sums(values: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; channels];
    for sample in values.chunks_exact((channels * plane).max(1)) {
        for (sum, plane) in sums.iter_mut().zip(sample.chunks_exact(plane.max(1))) {
            *sum += f64::from(pair_sums(plane, plane, |v, _| (v, 0.0)).0);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
