//! The f32 tile in plain Rust, for the compiler to vectorize with the target's baseline.

use super::super::{Operands, Tile};
use super::{Float, clamp};

const NR: usize = 16;

/// One pixel by 16 channels.
pub(super) const TILE: Tile<Float> = Tile { nr: NR, lanes: NR, k_group: 1, encode: None, run };

fn run(operands: &mut Operands<'_, Float>) {
    let (right, _) = operands.right.as_chunks::<NR>();
    let epilogue = operands.epilogue;
    let bias = &epilogue.bias[operands.channel..][..NR];
    for (row, pixel) in operands.left.pixels.iter().enumerate() {
        // Arrays made anew stay in vector registers; sums changed in place went to memory.
        let mut sums: [f32; NR] = core::array::from_fn(|j| bias[j]);
        let parts = right.chunks_exact(operands.segment);
        for (offset, weights) in operands.left.segments.iter().zip(parts) {
            let [left] = operands.segments(&[*pixel], *offset);
            for (&x, weights) in left.iter().zip(weights) {
                sums = core::array::from_fn(|j| sums[j] + x * weights[j]);
            }
        }
        for (y, &sum) in operands.y_row(row).iter_mut().zip(&sums) {
            *y = clamp(sum, epilogue.range);
        }
    }
}
