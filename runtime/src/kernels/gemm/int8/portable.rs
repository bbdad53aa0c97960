//! The int8 tile and the kernel of linear layers in plain Rust, for the compiler to vectorize with the
//! target's baseline.

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::gemm::vector;
use crate::quant::requantize;

const NR: usize = 16;

/// One pixel by 16 channels.
pub(super) const TILE: Tile<Int8> = Tile { nr: NR, lanes: NR, k_group: 1, encode: None, run };

fn run(operands: &mut Operands<'_, Int8>) {
    let (right, _) = operands.right.as_chunks::<NR>();
    let epilogue = operands.epilogue;
    let bias = &epilogue.bias[operands.channel..][..NR];
    let multiplier = &epilogue.multiplier[operands.channel..][..NR];
    for (row, pixel) in operands.left.pixels.iter().enumerate() {
        let mut sums: [i32; NR] = core::array::from_fn(|j| bias[j]);
        let parts = right.chunks_exact(operands.segment);
        let [window] = operands.windows([*pixel]);
        for (offset, weights) in operands.left.segments.iter().zip(parts) {
            add_products(&mut sums, &window[*offset..][..operands.segment], weights);
        }
        let y = operands.y_row(row);
        for ((y, &sum), &m) in y.iter_mut().zip(&sums).zip(multiplier) {
            *y = requantize(sum, m, epilogue.output);
        }
    }
}

/// One pixel by all channels.
pub(super) const VECTOR: vector::Kernel<Int8> =
    vector::Kernel { nr: NR, lanes: NR, k_group: 1, run: vector };

fn vector(operands: &mut vector::Operands<'_, Int8>) {
    let epilogue = operands.epilogue;
    let (bias, _) = epilogue.bias.as_chunks();
    let (multipliers, _) = epilogue.multiplier.as_chunks::<NR>();
    let (weights, _) = operands.weights.as_chunks::<NR>();
    let panels = weights.chunks_exact(operands.x.len()).zip(operands.y.chunks_mut(NR));
    for (((weights, y), bias), multipliers) in panels.zip(bias).zip(multipliers) {
        let mut sums = *bias;
        add_products(&mut sums, operands.x, weights);
        for ((y, &sum), &m) in y.iter_mut().zip(&sums).zip(multipliers) {
            *y = requantize(sum, m, epilogue.output);
        }
    }
}

/// Adds `Σ x · w` to each channel's sum.
///
/// Not inlined: between a load and a store of all sums the compiler keeps them in vectors.
#[inline(never)]
fn add_products(sums: &mut [i32; NR], x: &[i8], weights: &[[i8; NR]]) {
    // Arrays made anew stay in vector registers; sums changed in place went to memory.
    let mut all = *sums;
    for (&x, weights) in x.iter().zip(weights) {
        let weights = weights.map(i16::from);
        let product = |j: usize| i32::from(x) * i32::from(weights[j]);
        all = core::array::from_fn(|j| all[j].wrapping_add(product(j)));
    }
    *sums = all;
}
