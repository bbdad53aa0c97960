//! Every instruction set against the definition, over odd shapes and extreme values.
#![expect(clippy::unwrap_used, reason = "tests")]

use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;

use super::{ConvF32, ConvI8, ConvShape, PlacedConv, twin};
use crate::compiled::Conv;
use crate::kernels::aligned::Aligned;
use crate::kernels::{Isa, Margin};
use crate::quant::Output;
use crate::threads::Threads;

/// A reproducible stream of bytes, so that large tensors need no strategy of their own.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // Steele et al. 2014, SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// int8 values: any, or one time in four an extreme one.
    pub(crate) fn int8(&mut self, len: usize, lo: i8) -> Vec<i8> {
        let mut value = || match self.next() {
            z if z % 8 == 0 => lo,
            z if z % 8 == 1 => 127,
            z => ((z >> 32) as i8).max(lo),
        };
        (0..len).map(|_| value()).collect()
    }

    /// f32 values in [-1, 1).
    pub(crate) fn float(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    }
}

#[derive(Clone, Debug)]
struct Case {
    shape: ConvShape,
    zero: i8,
    output: Output,
    seed: u64,
}

fn geometry() -> impl Strategy<Value = ConvShape> {
    let channels = || select(&[1_usize, 2, 3, 7, 8, 16, 17, 24, 33, 64, 65, 96]);
    let kernel = || select(&[1_usize, 2, 3, 5]);
    let pair = |of: std::ops::RangeInclusive<usize>| [of.clone(), of];
    (
        (channels(), channels(), select(&[1_usize, 2, 3])),
        ([kernel(), kernel()], pair(1..=2), pair(1..=2)),
        (pair(0..=3), pair(0..=3), pair(1..=9)),
        0..4_usize,
    )
        .prop_map(
            |((a, b, groups), (kernel, stride, dilation), (before, after, size), kind)| {
                // One in four each: ordinary, grouped, depthwise, depthwise with a multiplier.
                let (in_c, out_c, groups) = match kind {
                    0 => (a, b, 1),
                    1 => (a.min(17) * groups, b.min(17) * groups, groups),
                    2 => (a, a, a),
                    _ => (a, a * groups, a),
                };
                // The image is made large enough for one window.
                let span = |i: usize| (kernel[i] - 1) * dilation[i] + 1;
                let padding = [before[0].min(kernel[0] - 1), before[1].min(kernel[1] - 1)];
                let input = |i: usize| size[i].max(span(i).saturating_sub(padding[i]));
                let output = |i: usize| {
                    (input(i) + padding[i] + after[i].min(kernel[i] - 1) - span(i)) / stride[i] + 1
                };
                ConvShape {
                    in_h: input(0),
                    in_w: input(1),
                    in_c,
                    out_h: output(0),
                    out_w: output(1),
                    out_c,
                    kernel,
                    stride,
                    padding,
                    dilation,
                    groups,
                }
            },
        )
}

fn case() -> impl Strategy<Value = Case> {
    let zero = || prop_oneof![Just(-128_i8), Just(127), Just(0), any::<i8>()];
    (geometry(), zero(), zero(), [any::<i8>(), any::<i8>()], any::<u64>()).prop_map(
        |(shape, zero, zero_point, bounds, seed)| {
            let [lo, hi] = if seed % 2 == 0 { [-128, 127] } else { bounds };
            let output = Output { zero_point, lo: lo.min(hi), hi: hi.max(lo) };
            Case { shape, zero, output, seed }
        },
    )
}

/// The convolution by itself, with an input that can be read in place, and with an input whose
/// margin is of no use; the latter two have outputs with margins, the last among other channels.
pub(super) fn places(shape: &ConvShape, seed: u64) -> [PlacedConv; 3] {
    let odd = (seed % 3) as usize;
    let y = Margin { above: odd, below: 1, beside: 2 - odd };
    let x = shape.margin().union(Margin { above: odd, below: 0, beside: 1 });
    let whole = PlacedConv::from(*shape);
    let in_place = PlacedConv { x, y, overread: true, ..whole };
    let x = Margin { beside: 1, ..Margin::default() };
    let channels = if shape.is_depthwise() { whole.channels } else { (odd, shape.out_c + 3) };
    let copied = PlacedConv { x, channels, ..in_place };
    [whole, in_place, copied]
}

/// The image `x` in a buffer of `len` with its margin of `zero`, and `behind` behind it.
pub(super) fn placed<T: Copy>(
    conv: &PlacedConv,
    x: &[T],
    zero: T,
    behind: T,
    len: usize,
) -> Vec<T> {
    let image = conv.x_image();
    let mut buffer = alloc::vec![behind; len];
    image.place(x, &mut buffer);
    image.fill_margin(zero, &mut buffer);
    buffer
}

/// The convolution's output in a buffer, with `untouched` left in its place.
pub(super) fn take<T: Copy>(conv: &PlacedConv, y: &mut [T], untouched: T) -> Vec<T> {
    let (image, (first, channels)) = (conv.y_image(), conv.channels);
    let mut output = Vec::new();
    for row in 0..image.h {
        for column in 0..image.w {
            let at = image.origin() + row * image.line() + column * channels + first;
            let values = &mut y[at..at + conv.shape.out_c];
            output.extend_from_slice(values);
            values.fill(untouched);
        }
    }
    output
}

fn check_int8(Case { shape, zero, output, seed }: &Case) -> Result<(), TestCaseError> {
    let mut noise = Noise(*seed);
    let x = noise.int8(shape.input_len(), -128);
    let weight = noise.int8(shape.weight_len(), -127);
    let bias: Vec<i32> = (0..shape.out_c).map(|_| noise.next() as i32 >> 12).collect();
    // From steps far below one to a product that saturates.
    let sizes = noise.float(shape.out_c);
    let multiplier: Vec<f32> = sizes.iter().map(|m| (m * 8.0 - 6.0).exp2()).collect();
    let expected = twin::int8(shape, &x, &weight, &bias, &multiplier, *zero, *output);
    let compiled = Conv {
        shape: *shape,
        weight: bytemuck::cast_slice(&weight),
        bias: &bias,
        multiplier: &multiplier,
        zero_point: *zero,
        output: *output,
    };
    let mut y = alloc::vec![0x33_i8; shape.output_len()];
    compiled.run(&x, &mut y);
    prop_assert_eq!(&y, &expected, "compiled");
    for isa in Isa::available() {
        for place in places(shape, *seed) {
            let conv = ConvI8::new(isa, place, &weight, &bias, &multiplier, *zero, *output);
            let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
            scratch.as_mut_slice().fill(0x55);
            let x = placed(&place, &x, *zero, 0x77, conv.input_len());
            let mut y = alloc::vec![0x33_i8; place.y_image().len()];
            conv.run(&x, &mut y, scratch.as_mut_slice());
            prop_assert_eq!(&take(&place, &mut y, 0x33), &expected, "{} {:?}", isa, place);
            prop_assert!(y.iter().all(|&y| y == 0x33), "{isa} {place:?}: wrote beside its output");
        }
    }
    Ok(())
}

fn check_float(Case { shape, seed, .. }: &Case) -> Result<(), TestCaseError> {
    let mut noise = Noise(*seed);
    let x = noise.float(shape.input_len());
    let weight = noise.float(shape.weight_len());
    let bias = noise.float(shape.out_c);
    let range = if seed % 2 == 0 { (f32::NEG_INFINITY, f32::INFINITY) } else { (0.0, 0.75) };
    let expected = twin::float(shape, &x, &weight, &bias);
    // Each of the k + 1 operations rounds by at most half a unit in the last place (Higham 2002,
    // section 3.1); twice that also covers the rounding of the bound.
    let tolerance = (shape.k() + 1) as f64 * f64::from(f32::EPSILON);
    for isa in Isa::available() {
        for place in places(shape, *seed) {
            let conv = ConvF32::direct(isa, place, &weight, &bias, range);
            let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
            scratch.as_mut_slice().fill(0xff);
            let x = placed(&place, &x, 0.0, 1e9, conv.input_len());
            let mut y = alloc::vec![1e9; place.y_image().len()];
            conv.run(&x, &mut y, scratch.as_mut_slice());
            let output = take(&place, &mut y, 1e9);
            prop_assert!(
                y.iter().all(|y| y.to_bits() == 1e9_f32.to_bits()),
                "{isa} {place:?}: wrote beside its output"
            );
            let y = output;
            for (i, (&y, &(value, size))) in y.iter().zip(&expected).enumerate() {
                let value = value.clamp(f64::from(range.0), f64::from(range.1));
                let error = (f64::from(y) - value).abs();
                prop_assert!(error <= tolerance * size, "{isa} {place:?}: {y} for {value} at {i}");
            }
        }
    }
    Ok(())
}

/// Several threads write what one does, in int8 to the bit, and no margin. f32 tiles take the last
/// pixels of their part in another order.
fn check_threads(Case { shape, zero, output, seed }: &Case, count: usize) {
    if cfg!(target_family = "wasm") {
        return; // It has no threads.
    }
    let mut noise = Noise(*seed);
    let (x, weight) = (noise.int8(shape.input_len(), -128), noise.int8(shape.weight_len(), -127));
    let (bias, multiplier) = (alloc::vec![5; shape.out_c], alloc::vec![2e-4; shape.out_c]);
    let x_f32: Vec<f32> = x.iter().map(|&x| f32::from(x) / 100.0).collect();
    let weight_f32: Vec<f32> = weight.iter().map(|&w| f32::from(w) / 90.0).collect();
    let bias_f32 = alloc::vec![0.25; shape.out_c];
    let mut threads = Threads::new(count).unwrap();
    for isa in Isa::available() {
        for place in places(shape, *seed) {
            let image = place.y_image();
            let conv = ConvI8::new(isa, place, &weight, &bias, &multiplier, *zero, *output);
            let x = placed(&place, &x, *zero, 99, conv.input_len());
            let mut scratch = Aligned::<u8>::zeroed(count * (conv.scratch_len() + 64));
            let (mut one, mut several) =
                (alloc::vec![77; image.len()], alloc::vec![77; image.len()]);
            conv.run(&x, &mut one, scratch.as_mut_slice());
            conv.run_divided(&x, &mut several, scratch.as_mut_slice(), &mut threads);
            assert_eq!(one, several, "{isa} {place:?}");

            let range = (f32::NEG_INFINITY, 2.0);
            let conv = ConvF32::new(isa, place, &weight_f32, &bias_f32, range);
            let x = placed(&place, &x_f32, 0.0, 1e9, conv.input_len());
            let mut scratch = Aligned::<u8>::zeroed(count * (conv.scratch_len() + 64));
            let (mut one, mut several) =
                (alloc::vec![7.0; image.len()], alloc::vec![7.0; image.len()]);
            conv.run(&x, &mut one, scratch.as_mut_slice());
            conv.run_divided(&x, &mut several, scratch.as_mut_slice(), &mut threads);
            // Inputs and weights stay below 1.5, and rounding as in `check_float`.
            let tolerance = ((shape.k() + 1) * (shape.k() + 1)) as f32 * 2.25 * f32::EPSILON;
            let close = one.iter().zip(&several).all(|(a, b)| (a - b).abs() <= tolerance);
            assert!(close, "{isa} {place:?}: {one:?} and {several:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_isa_gives_the_bits_of_the_definition(case in case()) {
        check_int8(&case)?;
    }

    #[test]
    fn every_isa_is_within_rounding_of_the_f64_sum(case in case()) {
        check_float(&case)?;
    }

    #[test]
    fn every_number_of_threads_gives_the_same_int8_bits(case in case(), count in 2_usize..5) {
        check_threads(&case, count);
    }
}

#[test]
fn a_linear_layer_equals_the_definition() {
    let few = [1, 3, 4, 5, 8].map(|outputs| [(7, outputs), (64, outputs), (173, outputs)]);
    let many = [9, 16, 17, 33, 48, 64, 65, 100, 113, 160, 200]
        .map(|outputs| [(2, outputs), (8, outputs), (30, outputs), (129, outputs)]);
    let real = [(1, 1), (3, 10), (784, 128), (640, 128), (4_700, 17)];
    for (inputs, outputs) in few.concat().into_iter().chain(many.concat()).chain(real) {
        let shape = ConvShape::linear(inputs, outputs);
        let output = Output { zero_point: -7, lo: -128, hi: 127 };
        let case = Case { shape, zero: 5, output, seed: 3 };
        check_int8(&case).unwrap();
        check_float(&case).unwrap();
    }
}

#[test]
fn images_of_several_bands_equal_the_definition() {
    // 50 padded rows of 50 · 64 bytes are more than the 128 KiB and 64 KiB of a band.
    let square = ConvShape {
        in_h: 48,
        in_w: 48,
        in_c: 64,
        out_h: 48,
        out_w: 48,
        out_c: 8,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let depthwise = ConvShape { out_c: 64, groups: 64, ..square };
    let halved = ConvShape { out_h: 24, out_w: 24, stride: [2, 2], ..depthwise };
    let thin = ConvShape { in_h: 199, in_c: 16, out_c: 16, out_h: 100, groups: 16, ..halved };
    for shape in [square, depthwise, halved, thin] {
        let output = Output { zero_point: 0, lo: 0, hi: 127 };
        let case = Case { shape, zero: -128, output, seed: 11 };
        check_int8(&case).unwrap();
        check_float(&case).unwrap();
        check_threads(&case, 3);
    }
}

#[test]
fn depthwise_layers_of_every_width_equal_the_definition() {
    for channels in (8..=72).step_by(4).chain([9, 15, 31, 47, 49, 63, 96, 112, 144, 176]) {
        for (stride, width) in [(1, 1), (1, 2), (1, 5), (1, 9), (2, 3), (2, 8), (2, 19)] {
            let shape = ConvShape {
                in_h: 5,
                in_w: width,
                out_h: 5_usize.div_ceil(stride),
                out_w: width.div_ceil(stride),
                kernel: [3, 3],
                stride: [stride; 2],
                padding: [1, 1],
                groups: channels,
                ..ConvShape::linear(channels, channels)
            };
            let output = Output { zero_point: 3, lo: -128, hi: 120 };
            check_int8(&Case { shape, zero: 7, output, seed: channels as u64 }).unwrap();
        }
    }
}

#[test]
fn first_layers_on_three_channels_equal_the_definition() {
    for out_c in [7, 8, 16, 24, 32, 64, 72] {
        for (stride, width) in [(1, 3), (1, 16), (1, 37), (2, 2), (2, 32), (2, 75), (3, 20)] {
            let shape = ConvShape {
                in_h: 7,
                in_w: width,
                out_h: 7_usize.div_ceil(stride),
                out_w: width.div_ceil(stride),
                kernel: [3, 3],
                stride: [stride; 2],
                padding: [1, 1],
                ..ConvShape::linear(3, out_c)
            };
            let output = Output { zero_point: -128, lo: -128, hi: 127 };
            check_int8(&Case { shape, zero: -128, output, seed: out_c as u64 }).unwrap();
        }
    }
}

#[test]
fn saturating_sums_stay_exact() {
    // 4,608 products of -128 · -127 are 7.5 · 10⁷: i16 or saturating steps would show.
    // Of a linear layer, and of a 1×1 convolution on two pixels.
    let shapes = [17, 5].map(|out_c| {
        let linear = ConvShape::linear(4_608, out_c);
        [linear, ConvShape { in_w: 2, out_w: 2, ..linear }]
    });
    let sum = 4_608 * 128 * 127;
    let m = 100.0 / sum as f32;
    let output = Output { zero_point: 0, lo: -128, hi: 127 };
    for (isa, shape) in Isa::available()
        .flat_map(|isa| shapes.as_flattened().iter().map(move |shape| (isa, *shape)))
    {
        let x = alloc::vec![-128_i8; shape.input_len()];
        let weight = alloc::vec![-127_i8; shape.weight_len()];
        let (bias, multiplier) = (alloc::vec![0; shape.out_c], alloc::vec![m; shape.out_c]);
        let conv = ConvI8::new(isa, shape, &weight, &bias, &multiplier, 0, output);
        let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
        let mut y = alloc::vec![0; shape.output_len()];
        conv.run(&x, &mut y, scratch.as_mut_slice());
        assert!(y.iter().all(|&y| y == 100), "{isa} {shape:?}: {y:?}");
    }
}

#[test]
fn multipliers_too_large_for_an_i32_saturate() {
    for (groups, multiplier) in [(1, 1e5), (16, 1e5), (1, 3e38), (16, 3e38)] {
        let kernel = [1 + groups / 8; 2];
        let shape = ConvShape {
            in_h: 5,
            in_w: 5,
            out_h: 5,
            out_w: 5,
            kernel,
            groups,
            ..ConvShape::linear(16, 16)
        };
        let mut noise = Noise(5);
        let (x, weight) =
            (noise.int8(shape.input_len(), -128), noise.int8(shape.weight_len(), -127));
        let (bias, multiplier) = ([-3; 16], [multiplier; 16]);
        let output = Output { zero_point: 4, lo: -100, hi: 100 };
        let expected = twin::int8(&shape, &x, &weight, &bias, &multiplier, 0, output);
        assert!(expected.contains(&-100) && expected.contains(&100));
        for isa in Isa::available() {
            let conv = ConvI8::new(isa, shape, &weight, &bias, &multiplier, 0, output);
            let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
            let mut y = alloc::vec![0; shape.output_len()];
            conv.run(&x, &mut y, scratch.as_mut_slice());
            assert_eq!(y, expected, "{isa}");
        }
    }
}

#[test]
fn products_that_are_denormal_are_zero_steps() {
    // 2⁻¹⁴⁹, 2⁻¹³⁰ and 2⁻¹²⁶: denormal multipliers, and one whose products with sums are not.
    for bits in [1, 1 << 19, 1 << 23] {
        let shape = ConvShape::linear(16, 17);
        let mut noise = Noise(bits.into());
        let (x, weight) = (noise.int8(16, -128), noise.int8(shape.weight_len(), -127));
        for (lo, hi) in [(-128, 127), (9, 100), (-100, 9), (10, 100), (-100, 8)] {
            let output = Output { zero_point: 9, lo, hi };
            for isa in Isa::available() {
                let m = [f32::from_bits(bits); 17];
                let conv = ConvI8::new(isa, shape, &weight, &[0; 17], &m, 0, output);
                let mut scratch = Aligned::<u8>::zeroed(conv.scratch_len());
                let mut y = [0; 17];
                conv.run(&x, &mut y, scratch.as_mut_slice());
                assert_eq!(y, [9.clamp(lo, hi); 17], "{isa}");
            }
        }
    }
}
