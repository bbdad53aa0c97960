//! The f32 tile for WebAssembly: multiply and add, which its baseline does not fuse.

use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_pmax, f32x4_pmin, f32x4_splat, v128};

use super::super::{Operands, Tile};
use super::Float;
use crate::kernels::simd128::{load, store_f32};

const MR: usize = 4;
const NR: usize = 8;
/// Vectors of channels.
const V: usize = NR / 4;

/// Four pixels by eight channels.
pub(super) const TILE: Tile<Float> = Tile { nr: NR, lanes: NR, k_group: 1, encode: None, run };

fn run(operands: &mut Operands<'_, Float>) {
    let (fours, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in fours.iter().enumerate() {
        tile(operands, pixels, i * MR);
    }
    let row = fours.len() * MR;
    match *rest {
        [a] => tile(operands, &[a], row),
        [a, b] => tile(operands, &[a, b], row),
        [a, b, c] => tile(operands, &[a, b, c], row),
        _ => {}
    }
}

#[inline]
fn tile<const R: usize>(operands: &mut Operands<'_, Float>, pixels: &[usize; R], row: usize) {
    let (right, _) = operands.right.as_chunks::<4>();
    let (right, _): (&[[[f32; 4]; V]], _) = right.as_chunks();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..NR].as_chunks::<4>();
    let mut acc: [[v128; V]; R] = [core::array::from_fn(|v| load(&bias[v])); R];
    let parts = right.chunks_exact(operands.segment);
    for (offset, weights) in operands.left.segments.iter().zip(parts) {
        let left = operands.segments(pixels, *offset).map(|x| &x[..weights.len()]);
        for (i, weights) in weights.iter().enumerate() {
            let x = left.map(|x| f32x4_splat(x[i]));
            for v in 0..V {
                let weights = load(&weights[v]);
                for r in 0..R {
                    acc[r][v] = f32x4_add(acc[r][v], f32x4_mul(x[r], weights));
                }
            }
        }
    }
    let (lo, hi) = operands.epilogue.range;
    let (lo, hi) = (f32x4_splat(lo), f32x4_splat(hi));
    for (i, sums) in acc.into_iter().enumerate() {
        // `pmax(x, lo)` is `lo` if larger, else `x`: NaN goes through.
        let clamp = |sum| f32x4_pmin(f32x4_pmax(sum, lo), hi);
        store_f32(operands.y_row(row + i), sums.map(clamp));
    }
}
