//! The int8 tile for 256-bit VNNI: `vpdpbusd` adds four products of unsigned by signed bytes.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of the left side, checked once a tile")]

use core::arch::x86_64::*;

use super::vectors256::{LANES, start, store};
use super::{GROUP, Int8, group};
use crate::kernels::gemm::{Operands, Tile};
use crate::kernels::isa::has_vex_vnni;
use crate::kernels::x86::avx2::{Requantizer, load_i8x32};

/// Vectors of channels in a panel.
const MOST: usize = 4;

/// Up to four vectors of channels by as many pixels as sixteen registers hold.
pub(super) fn tile() -> Tile<Int8> {
    let run: unsafe fn(&mut Operands<'_, Int8>) = if has_vex_vnni() { vex::run } else { evex::run };
    Tile { nr: MOST * LANES, lanes: LANES, k_group: GROUP, encode: None, run }
}

/// The tile with one encoding of `vpdpbusd`.
macro_rules! tile {
    ($features:literal, $dpbusd:ident) => {
        use super::*;

        #[target_feature(enable = $features)]
        pub(super) fn run(operands: &mut Operands<'_, Int8>) {
            // Twelve sums; with one vector fewer, because each pixel is read for it alone.
            match operands.cols.div_ceil(LANES) {
                1 => columns::<8, 1>(operands),
                2 => columns::<6, 2>(operands),
                3 => columns::<4, 3>(operands),
                _ => columns::<3, 4>(operands),
            }
        }

        /// All pixels by `V` vectors of channels, `R` pixels at a time.
        #[inline]
        #[target_feature(enable = $features)]
        fn columns<const R: usize, const V: usize>(operands: &mut Operands<'_, Int8>) {
            // Hidden, or the compiler flips bits before it broadcasts, in one instruction more.
            let flip = core::hint::black_box(_mm256_set1_epi8(i8::MIN));
            let constants = (flip, Requantizer::new(operands.epilogue.output));
            let (tiles, rest) = operands.left.pixels.as_chunks::<R>();
            for (i, pixels) in tiles.iter().enumerate() {
                rows::<R, V>(operands, *pixels, i * R, &constants);
            }
            let row = tiles.len() * R;
            let (pairs, last) = rest.as_chunks::<2>();
            for (i, pixels) in pairs.iter().enumerate() {
                rows::<2, V>(operands, *pixels, row + 2 * i, &constants);
            }
            if let [pixel] = *last {
                rows::<1, V>(operands, [pixel], row + 2 * pairs.len(), &constants);
            }
        }

        /// `R` pixels by `V` vectors of channels.
        #[inline]
        #[target_feature(enable = $features)]
        fn rows<const R: usize, const V: usize>(
            operands: &mut Operands<'_, Int8>,
            pixels: [usize; R],
            row: usize,
            (flip, requantizer): &(__m256i, Requantizer),
        ) {
            let (right, _) = operands.right.as_chunks::<{ LANES * GROUP }>();
            let (right, _) = right.as_chunks::<V>();
            let mut acc = start::<R, V>(operands, 0);
            let left = operands.windows(pixels);
            for (&at, weights) in operands.left.groups.iter().zip(right) {
                let mut x = [_mm256_setzero_si256(); R];
                for r in 0..R {
                    // SAFETY: windows have all groups.
                    let values = _mm256_set1_epi32(unsafe { group(left[r], at) });
                    x[r] = _mm256_xor_si256(values, *flip);
                }
                for v in 0..V {
                    let weights = load_i8x32(&weights[v]);
                    for r in 0..R {
                        acc[r][v] = $dpbusd(acc[r][v], x[r], weights);
                    }
                }
            }
            store(operands, (row, 0), acc, requantizer);
        }
    };
}

mod vex {
    tile!("avx2,avxvnni", _mm256_dpbusd_avx_epi32);
}

mod evex {
    tile!("avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
}
