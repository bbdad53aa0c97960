//! f32 linear layers for AVX-512: one pixel by all channels, weights in one stream.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::Float;
use crate::kernels::gemm::vector::{Kernel, Operands};
use crate::kernels::x86::avx512::{LANES, load_f32x16, store_f32x16};

/// Channels of a panel.
const NR: usize = 4 * LANES;

pub(super) const KERNEL: Kernel<Float> = Kernel { nr: NR, lanes: LANES, k_group: 1, run };

#[target_feature(enable = "avx512f")]
fn run(operands: &mut Operands<'_, Float>) {
    for first in (0..operands.y.len()).step_by(NR) {
        match (operands.y.len() - first).div_ceil(LANES) {
            1 => columns::<1, 4>(operands, first),
            2 => columns::<2, 2>(operands, first),
            3 => columns::<3, 2>(operands, first),
            _ => columns::<4, 2>(operands, first),
        }
    }
}

/// `V` vectors of channels from `first` on, with `U` sums each to hide the latency of additions.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns<const V: usize, const U: usize>(operands: &mut Operands<'_, Float>, first: usize) {
    let (bias, _) = operands.epilogue.bias[first..].as_chunks::<LANES>();
    let (weights, _) = operands.weights[first * operands.x.len()..].as_chunks::<LANES>();
    let (weights, _) = weights.as_chunks::<V>();
    let mut acc = [[_mm512_setzero_ps(); V]; U];
    for (v, bias) in bias[..V].iter().enumerate() {
        acc[0][v] = load_f32x16(bias);
    }
    let (unrolled, rest) = operands.x.as_chunks::<U>();
    let (unrolled_weights, _) = weights.as_chunks::<U>();
    for (x, weights) in unrolled.iter().zip(unrolled_weights) {
        for u in 0..U {
            add_products(&mut acc[u], x[u], &weights[u]);
        }
    }
    for (x, weights) in rest.iter().zip(&weights[unrolled.len() * U..]) {
        add_products(&mut acc[0], *x, weights);
    }
    let (lo, hi) = operands.epilogue.range;
    let (lo, hi) = (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
    let end = operands.y.len().min(first + V * LANES);
    for (v, y) in operands.y[first..end].chunks_mut(LANES).enumerate() {
        let mut sum = acc[0][v];
        for more in &acc[1..] {
            sum = _mm512_add_ps(sum, more[v]);
        }
        // NaN in the second operand comes through.
        store_f32x16(y, _mm512_min_ps(hi, _mm512_max_ps(lo, sum)));
    }
}

/// Adds the products of an input with `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_products<const V: usize>(sums: &mut [__m512; V], x: f32, weights: &[[f32; LANES]; V]) {
    let x = _mm512_set1_ps(x);
    for v in 0..V {
        sums[v] = _mm512_fmadd_ps(x, load_f32x16(&weights[v]), sums[v]);
    }
}
