//! The int8 tile for WebAssembly: pairs of neighbours widened to i16, `i32x4.dot_i16x8_s`.

use core::arch::wasm32::{
    i16x8_extend_low_i8x16, i16x8_splat, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, i32x4_splat,
    v128,
};

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::simd128::{Requantizer, load, load_i8x8, store_i8};

const MR: usize = 4;
const NR: usize = 8;
/// Vectors of channels.
const V: usize = NR / 4;
/// Neighbours along k in a lane.
const GROUP: usize = 2;

/// Four pixels by eight channels: eight sums, four inputs, a weight and a product are what the
/// sixteen registers of an x86-64 host hold.
pub(super) const TILE: Tile<Int8> = Tile { nr: NR, lanes: NR, k_group: GROUP, encode: None, run };

/// Weights of a pair of neighbours.
type Weights = [[i8; 4 * GROUP]; V];

fn run(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue, operands.channel);
    let (fours, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in fours.iter().enumerate() {
        tile(operands, pixels, i * MR, &requantizer);
    }
    let row = fours.len() * MR;
    match *rest {
        [a] => tile(operands, &[a], row, &requantizer),
        [a, b] => tile(operands, &[a, b], row, &requantizer),
        [a, b, c] => tile(operands, &[a, b, c], row, &requantizer),
        _ => {}
    }
}

#[inline]
fn tile<const R: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    requantizer: &Requantizer<V>,
) {
    let (right, _) = operands.right.as_chunks::<{ 4 * GROUP }>();
    let (right, _): (&[Weights], _) = right.as_chunks();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..NR].as_chunks::<4>();
    let mut acc = [[i32x4_splat(0); V]; R];
    for sums in &mut acc {
        for v in 0..V {
            sums[v] = load(&bias[v]);
        }
    }
    let steps = operands.segment / GROUP;
    for (offset, weights) in operands.left.segments.iter().zip(right.chunks_exact(steps)) {
        let left = operands.segments(pixels, *offset);
        let (fours, rest) = weights.as_chunks::<4>();
        let inputs = left.map(|x| &x.as_chunks::<8>().0[..fours.len()]);
        for (i, weights) in fours.iter().enumerate() {
            let x = inputs.map(|x| load_i8x8(&x[i]));
            add_products(&mut acc, &x.map(|x| i32x4_shuffle::<0, 0, 0, 0>(x, x)), &weights[0]);
            add_products(&mut acc, &x.map(|x| i32x4_shuffle::<1, 1, 1, 1>(x, x)), &weights[1]);
            add_products(&mut acc, &x.map(|x| i32x4_shuffle::<2, 2, 2, 2>(x, x)), &weights[2]);
            add_products(&mut acc, &x.map(|x| i32x4_shuffle::<3, 3, 3, 3>(x, x)), &weights[3]);
        }
        let inputs = left.map(|x| &x.as_chunks::<GROUP>().0[4 * fours.len()..][..rest.len()]);
        for (i, weights) in rest.iter().enumerate() {
            let pair = |x: [i8; GROUP]| i16x8_extend_low_i8x16(i16x8_splat(bytemuck::cast(x)));
            add_products(&mut acc, &inputs.map(|x| pair(x[i])), weights);
        }
    }
    for (i, sums) in acc.into_iter().enumerate() {
        store_i8(operands.y_row(row + i), requantizer.apply(sums));
    }
}

/// Adds the products of a pair of inputs of each pixel, which is in all lanes.
#[inline]
fn add_products<const R: usize>(acc: &mut [[v128; V]; R], x: &[v128; R], weights: &Weights) {
    for v in 0..V {
        let weights = load_i8x8(&weights[v]);
        for r in 0..R {
            acc[r][v] = i32x4_add(acc[r][v], i32x4_dot_i16x8(x[r], weights));
        }
    }
}
