//! Both tile sizes against the definition in f64, on every instruction set.
#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

use proptest::prelude::*;
use proptest::sample::select;

use super::{Size, choose};
use crate::kernels::aligned::Aligned;
use crate::kernels::conv::tests::{Noise, placed, places, take};
use crate::kernels::conv::twin;
use crate::kernels::{ConvShape, Isa};

/// A 3×3 convolution of stride 1.
fn shape([h, w]: [usize; 2], [in_c, out_c]: [usize; 2], padding: [usize; 2]) -> ConvShape {
    ConvShape {
        in_h: h,
        in_w: w,
        in_c,
        out_h: h + 2 * padding[0] - 2,
        out_w: w + 2 * padding[1] - 2,
        out_c,
        kernel: [3, 3],
        stride: [1, 1],
        padding,
        dilation: [1, 1],
        groups: 1,
    }
}

/// The largest error in units of `ε · Σ |x · w|` with the largest such sum of all outputs.
fn check(size: Size, shape: &ConvShape, seed: u64) -> Result<f64, TestCaseError> {
    let mut noise = Noise(seed);
    let x = noise.float(shape.input_len());
    let weight = noise.float(shape.weight_len());
    let bias = noise.float(shape.out_c);
    let range =
        if seed.is_multiple_of(2) { (f32::NEG_INFINITY, f32::INFINITY) } else { (0.0, 0.75) };
    let expected = twin::float(shape, &x, &weight, &bias);
    // Transforms mix all inputs of a tile, so that an output's error follows its neighbours.
    let sum = expected.iter().map(|&(_, sum)| sum).fold(0.0, f64::max);
    let mut worst = 0.0_f64;
    for isa in Isa::available() {
        for place in places(shape, seed) {
            let conv = super::new(size, isa, &place, &weight, &bias, range);
            let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
            scratch.as_mut_slice().fill(0xff);
            let x = placed(&place, &x, 1e9, 1e9, conv.x_len());
            let mut y = alloc::vec![1e9_f32; place.y_image().len()];
            // In two parts, as two threads do.
            let (image, rows) = (place.y_image(), place.shape.out_h);
            let middle = rows / 2 / conv.row_unit() * conv.row_unit();
            for part in [0..middle, middle..rows] {
                let first = image.origin() + part.start * image.line();
                conv.run(part, &x, &mut y[first..], scratch.as_mut_slice());
            }
            for (y, &(value, _)) in take(&place, &mut y, 1e9).iter().zip(&expected) {
                let value = value.clamp(f64::from(range.0), f64::from(range.1));
                let error = (f64::from(*y) - value).abs();
                prop_assert!(error.is_finite(), "{isa} {place:?}: {y}");
                worst = worst.max(error);
            }
            prop_assert!(y.iter().all(|&y| y == 1e9), "{isa} {place:?}: wrote beside its output");
        }
    }
    Ok(worst / (sum * f64::from(f32::EPSILON)))
}

fn geometry() -> impl Strategy<Value = ConvShape> {
    let channels = || select(&[1_usize, 3, 7, 16, 17, 33, 65]);
    ([3..14_usize, 3..14], [channels(), channels()], [0..3_usize, 0..3])
        .prop_map(|(size, channels, padding)| shape(size, channels, padding))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn tiles_of_two_and_of_four_are_close_to_the_f64_sum(shape in geometry(), seed in any::<u64>()) {
        // Measured worst of 1,000 cases: 1.2 and 5.2. The bounds of the literature (Barabasz et
        // al. 2020) grow with the norms of the transforms and are far larger.
        for (size, most) in [(Size::Two, 4.0), (Size::Four, 12.0)] {
            let error = check(size, &shape, seed)?;
            prop_assert!(error <= most, "{size:?}: {error}");
        }
    }
}

#[test]
fn many_blocks_of_tiles_equal_the_definition() {
    // 64 channels of 56² are 196 tiles of four in blocks of 28.
    for size in [Size::Two, Size::Four] {
        let error = check(size, &shape([50, 30], [64, 64], [1, 1]), 4).unwrap();
        assert!(error <= 4.0, "{size:?}: {error}");
    }
}

#[test]
fn large_images_and_many_channels_are_transformed_and_small_ones_are_not() {
    let choice = |size, channels| choose(&shape([size; 2], channels, [1, 1]));
    assert_eq!(choice(56, [64, 64]), Some(Size::Four));
    assert_eq!(choice(32, [16, 16]), Some(Size::Four));
    // Weights of 4 tiles of four would be read more slowly than they are multiplied.
    assert_eq!(choice(7, [512, 512]), Some(Size::Two));
    assert_eq!(choice(32, [3, 16]), None);
    assert_eq!(choice(1, [512, 512]), None);
    let plain = shape([56; 2], [64, 64], [1, 1]);
    for other in [
        ConvShape { stride: [2, 2], out_h: 28, out_w: 28, ..plain },
        ConvShape { kernel: [3, 1], out_w: 58, ..plain },
        ConvShape { dilation: [2, 2], out_h: 54, out_w: 54, ..plain },
        ConvShape { groups: 2, ..plain },
    ] {
        assert_eq!(choose(&other), None);
    }
}
