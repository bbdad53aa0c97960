//! Light kernels against their definitions, on every instruction set that this CPU has.
#![expect(clippy::float_cmp, reason = "bits are compared, or the values are exact")]

use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::graph::Activation;
use crate::quant::{Output, QuantParams, requantize, round_ties_even};

fn params() -> impl Strategy<Value = QuantParams> {
    let zero_point = prop_oneof![Just(-128_i8), Just(127), Just(0), any::<i8>()];
    (1e-3_f32..4.0, zero_point).prop_map(|(scale, zero_point)| QuantParams { scale, zero_point })
}

fn output() -> impl Strategy<Value = Output> {
    (any::<i8>(), any::<i8>(), any::<i8>()).prop_map(|(zero_point, a, b)| Output {
        zero_point,
        lo: a.min(b),
        hi: a.max(b),
    })
}

fn pool_shape() -> impl Strategy<Value = PoolShape> {
    let pair = |of: core::ops::RangeInclusive<usize>| [of.clone(), of];
    let channels = proptest::sample::select(&[1_usize, 3, 4, 7, 16, 17, 23, 65]);
    (channels, pair(1..=4), pair(1..=3), pair(0..=3), pair(0..=3), pair(1..=7)).prop_map(
        |(channels, kernel, stride, before, after, size)| {
            let padding = [before[0].min(kernel[0] - 1), before[1].min(kernel[1] - 1)];
            let input = |i: usize| size[i].max(kernel[i] - padding[i]);
            let output = |i: usize| {
                (input(i) + padding[i] + after[i].min(kernel[i] - 1) - kernel[i]) / stride[i] + 1
            };
            PoolShape {
                in_h: input(0),
                in_w: input(1),
                channels,
                out_h: output(0),
                out_w: output(1),
                kernel,
                stride,
                padding,
            }
        },
    )
}

/// A pooling and an image for it.
fn pooling<T: core::fmt::Debug>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (PoolShape, Vec<T>)> {
    pool_shape().prop_flat_map(move |s| (Just(s), vec(value.clone(), s.in_h * s.in_w * s.channels)))
}

/// The values under each window in row order, straight from the definition.
fn windows<T: Copy>(s: &PoolShape, x: &[T]) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    for oy in 0..s.out_h {
        for ox in 0..s.out_w {
            for c in 0..s.channels {
                let mut values = Vec::new();
                for ky in 0..s.kernel[0] {
                    for kx in 0..s.kernel[1] {
                        let iy = (oy * s.stride[0] + ky).checked_sub(s.padding[0]);
                        let ix = (ox * s.stride[1] + kx).checked_sub(s.padding[1]);
                        if let (Some(iy), Some(ix)) = (iy, ix)
                            && iy < s.in_h
                            && ix < s.in_w
                        {
                            values.push(x[(iy * s.in_w + ix) * s.channels + c]);
                        }
                    }
                }
                all.push(values);
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn max_pools_give_the_largest_of_each_window((shape, x) in pooling(any::<i8>())) {
        let expected: Vec<i8> =
            windows(&shape, &x).iter().filter_map(|w| w.iter().copied().max()).collect();
        let real: Vec<f32> = x.iter().map(|&x| f32::from(x)).collect();
        let expected_real: Vec<f32> = expected.iter().map(|&x| f32::from(x)).collect();
        for isa in Isa::available() {
            let mut y = alloc::vec![0; expected.len()];
            max_pool_i8(isa, &shape, &x, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
            let mut y = alloc::vec![0.0; expected.len()];
            max_pool_f32(isa, &shape, &real, &mut y);
            prop_assert_eq!(&y, &expected_real, "{}", isa);
        }
    }

    #[test]
    fn average_pools_requantize_the_sum_of_each_window(
        (shape, x) in pooling(any::<i8>()),
        from in params(),
        y_scale in 1e-3_f32..4.0,
        with_padding in any::<bool>(),
        output in output(),
    ) {
        let area = shape.kernel[0] * shape.kernel[1];
        let mean = |window: &Vec<i8>| {
            let zero = i32::from(from.zero_point);
            let sum = window.iter().map(|&q| i32::from(q) - zero).sum();
            let count = if with_padding { area } else { window.len() };
            let m = f64::from(from.scale) / (f64::from(y_scale) * count as f64);
            requantize(sum, m as f32, output)
        };
        let expected: Vec<i8> = windows(&shape, &x).iter().map(mean).collect();
        for isa in Isa::available() {
            let pool = AvgPoolI8::new(isa, shape, from, y_scale, with_padding, output);
            let mut y = alloc::vec![0; expected.len()];
            pool.run(&x, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
        }
    }

    #[test]
    fn real_average_pools_add_in_row_order(
        (shape, x) in pooling(-1e3_f32..1e3),
        with_padding in any::<bool>(),
    ) {
        let area = shape.kernel[0] * shape.kernel[1];
        let mean = |window: &Vec<f32>| {
            let count = if with_padding { area } else { window.len() };
            window.iter().fold(0.0, |sum, x| sum + x) / count as f32
        };
        let expected: Vec<f32> = windows(&shape, &x).iter().map(mean).collect();
        for isa in Isa::available() {
            let mut y = alloc::vec![0.0; expected.len()];
            avg_pool_f32(isa, &shape, with_padding, &x, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
        }
    }

    #[test]
    fn int8_addition_follows_its_f32_steps(
        pairs in vec(any::<(i8, i8)>(), 0..100),
        a in params(),
        b in params(),
        y_scale in 1e-3_f32..4.0,
        output in output(),
    ) {
        let (xs, ys): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
        let m_a = (f64::from(a.scale) / f64::from(y_scale)) as f32;
        let m_b = (f64::from(b.scale) / f64::from(y_scale)) as f32;
        let zero = f32::from(output.zero_point);
        let sum = |(&x, &y): (&i8, &i8)| {
            let left = (f32::from(x) - f32::from(a.zero_point)) * m_a;
            let right = (f32::from(y) - f32::from(b.zero_point)) * m_b;
            let (lo, hi) = (f32::from(output.lo) - zero, f32::from(output.hi) - zero);
            (round_ties_even((left + right).clamp(lo, hi)) + zero) as i8
        };
        let expected: Vec<i8> = xs.iter().zip(&ys).map(sum).collect();
        for isa in Isa::available() {
            let mut y = alloc::vec![0; xs.len()];
            AddI8::new(isa, a, b, y_scale, output).run(&xs, &ys, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
        }
    }

    #[test]
    fn rescaling_rounds_and_equal_parameters_copy(
        x in vec(any::<i8>(), 0..100),
        from in params(),
        to in params(),
    ) {
        let m = (f64::from(from.scale) / f64::from(to.scale)) as f32;
        let zero = f32::from(to.zero_point);
        let rescale = |&q: &i8| {
            let steps = (f32::from(q) - f32::from(from.zero_point)) * m;
            (round_ties_even(steps.clamp(-128.0 - zero, 127.0 - zero)) + zero) as i8
        };
        let expected: Vec<i8> = x.iter().map(rescale).collect();
        for isa in Isa::available() {
            let mut y = alloc::vec![0; x.len()];
            RescaleI8::new(isa, from, to).run(&x, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
            RescaleI8::new(isa, from, from).run(&x, &mut y);
            prop_assert_eq!(&y, &x, "{}", isa);
        }
    }

    #[test]
    fn quantize_and_dequantize_agree_with_the_contract(
        x in vec(prop_oneof![-600.0_f32..600.0, any::<f32>()], 0..100),
        params in params(),
    ) {
        let expected: Vec<i8> = x.iter().map(|&x| params.quantize(x)).collect();
        let expected_real: Vec<f32> = expected.iter().map(|&q| params.dequantize(q)).collect();
        for isa in Isa::available() {
            let mut q = alloc::vec![0; x.len()];
            quantize(isa, params, &x, &mut q);
            prop_assert_eq!(&q, &expected, "{}", isa);
            let mut y = alloc::vec![0.0; x.len()];
            dequantize(isa, params, &q, &mut y);
            prop_assert_eq!(&y, &expected_real, "{}", isa);
        }
    }

    #[test]
    fn activations_are_the_same_bits_on_every_isa(x in vec(any::<f32>(), 0..100)) {
        for function in Activation::ALL {
            let bits = |y: f32| if y.is_nan() { None } else { Some(y.to_bits()) };
            let expected: Vec<_> = x.iter().map(|&x| bits(evaluate(function, x))).collect();
            for isa in Isa::available() {
                let mut y = alloc::vec![0.0; x.len()];
                activation_f32(isa, function, &x, &mut y);
                let y: Vec<_> = y.into_iter().map(bits).collect();
                prop_assert_eq!(&y, &expected, "{} {}", function.name(), isa);
            }
        }
    }

    #[test]
    fn softmax_is_close_to_f64_and_the_same_bits_on_every_isa(
        (classes, x) in (1..40_usize).prop_flat_map(|n| (Just(n), vec(-50.0_f32..50.0, 3 * n))),
    ) {
        let mut first = None;
        for isa in Isa::available() {
            let mut y = alloc::vec![0.0; x.len()];
            softmax_f32(isa, classes, &x, &mut y);
            for (x, y) in x.chunks(classes).zip(y.chunks(classes)) {
                let max = x.iter().copied().fold(f32::MIN, f32::max);
                let e: Vec<f64> = x.iter().map(|&x| f64::from(x - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                for (y, e) in y.iter().zip(e) {
                    // exp 2 ulp, a sum of at most 5 roundings in a row and in halves, a division.
                    let tolerance = 8.0 * f64::from(f32::EPSILON) * (e / sum) + 1e-37;
                    prop_assert!((f64::from(*y) - e / sum).abs() <= tolerance, "{isa}");
                }
            }
            prop_assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{}", isa);
        }
    }

    #[test]
    fn sums_and_batch_norm_are_their_formulas(
        pixels in vec(vec(-1e3_f32..1e3, 7), 0..9),
        scale in vec(-2.0_f32..2.0, 7),
        shift in vec(-2.0_f32..2.0, 7),
    ) {
        let x = pixels.concat();
        for isa in Isa::available() {
            let mut y = alloc::vec![0.0; x.len()];
            batch_norm_f32(isa, &scale, &shift, &x, &mut y);
            for (i, &y) in y.iter().enumerate() {
                prop_assert_eq!(y, x[i] * scale[i % 7] + shift[i % 7], "{}", isa);
            }
            let normalized = y.clone();
            add_f32(isa, &x, &normalized, (0.0, 6.0), &mut y);
            for (i, &y) in y.iter().enumerate() {
                prop_assert_eq!(y, (x[i] + normalized[i]).clamp(0.0, 6.0), "{}", isa);
            }
        }
    }

    #[test]
    fn padding_keeps_each_pixel_at_its_shifted_place(
        [h, w, c] in [0..5_usize, 0..5_usize, 1..4_usize],
        padding in [0..3_usize, 0..3, 0..3, 0..3],
    ) {
        let x: Vec<usize> = (1..=h * w * c).collect();
        let [top, left, bottom, right] = padding;
        let (tall, wide) = (top + h + bottom, left + w + right);
        let mut y = alloc::vec![usize::MAX; tall * wide * c];
        pad([h, w, c], padding, 0, &x, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let (row, column) = (i / c / wide, i / c % wide);
            let inside = (top..top + h).contains(&row) && (left..left + w).contains(&column);
            let expected = if inside { x[((row - top) * w + column - left) * c + i % c] } else { 0 };
            prop_assert_eq!(y, expected, "at {}", i);
        }
    }
}

proptest! {
    #[test]
    fn int8_products_requantize_the_exact_product(
        pixels in vec(vec(any::<i8>(), 37), 0..5),
        factors in vec(any::<i8>(), 37),
        [a, b] in [params(), params()],
        y_scale in 1e-3_f32..4.0,
        output in output(),
        channels in proptest::sample::select(&[1_usize, 3, 8, 17, 37]),
    ) {
        let x: Vec<i8> = pixels.concat().into_iter().collect();
        let x = &x[..x.len() / channels * channels];
        let factors = &factors[..channels];
        let m = (f64::from(a.scale) * f64::from(b.scale) / f64::from(y_scale)) as f32;
        let product = |(i, &q): (usize, &i8)| {
            let (x, factor) = (i64::from(q), i64::from(factors[i % channels]));
            let exact = (x - i64::from(a.zero_point)) * (factor - i64::from(b.zero_point));
            requantize(exact as i32, m, output)
        };
        let expected: Vec<i8> = x.iter().enumerate().map(product).collect();
        let by_itself: Vec<i8> = x.iter().map(|&q| {
            let exact = (i32::from(q) - i32::from(a.zero_point)).pow(2);
            let m = (f64::from(a.scale) * f64::from(a.scale) / f64::from(y_scale)) as f32;
            requantize(exact, m, output)
        }).collect();
        for isa in Isa::available() {
            let mut y = alloc::vec![0; x.len()];
            MulI8::new(isa, a, b, y_scale, output).run(x, factors, &mut y);
            prop_assert_eq!(&y, &expected, "{}", isa);
            if !x.is_empty() {
                MulI8::new(isa, a, a, y_scale, output).run(x, x, &mut y);
                prop_assert_eq!(&y, &by_itself, "{}", isa);
            }
        }
    }

    #[test]
    fn products_of_channels_and_of_elements_are_one_multiplication(
        pixels in vec(vec(-1e3_f32..1e3, 7), 1..9),
        factors in vec(-2.0_f32..2.0, 7),
    ) {
        let x = pixels.concat();
        for isa in Isa::available() {
            let mut y = alloc::vec![0.0; x.len()];
            mul_f32(isa, &x, &factors, &mut y);
            for (i, &y) in y.iter().enumerate() {
                prop_assert_eq!(y, x[i] * factors[i % 7], "{}", isa);
            }
            mul_f32(isa, &x, &x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                prop_assert_eq!(y, x * x, "{}", isa);
            }
        }
    }

    #[test]
    fn a_slice_keeps_its_range_of_each_stretch(
        count in 0..4_usize,
        (stretch, start, end) in (1..9_usize).prop_flat_map(|n| {
            (Just(n), 0..n).prop_flat_map(|(n, start)| (Just(n), Just(start), start + 1..=n))
        }),
    ) {
        let x: Vec<usize> = (0..count * stretch).collect();
        let mut y = alloc::vec![usize::MAX; count * (end - start)];
        slice(stretch, start..end, &x, &mut y);
        let kept = |x: &usize| (start..end).contains(&(x % stretch));
        prop_assert_eq!(y, x.into_iter().filter(kept).collect::<Vec<_>>());
    }

    #[test]
    fn padded_channels_keep_their_pixel(
        count in 0..4_usize,
        [before, channels, after] in [0..4_usize, 1..5, 0..4],
    ) {
        let x: Vec<usize> = (1..=count * channels).collect();
        let wide = before + channels + after;
        let mut y = alloc::vec![usize::MAX; count * wide];
        pad_channels([before, channels, after], 0, &x, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let (pixel, c) = (i / wide, i % wide);
            let inside = (before..before + channels).contains(&c);
            prop_assert_eq!(y, if inside { x[pixel * channels + c - before] } else { 0 });
        }
    }

    #[test]
    fn a_shuffle_transposes_groups_and_their_channels(
        count in 0..4_usize,
        [groups, each] in [1..5_usize, 1..5],
    ) {
        let channels = groups * each;
        let x: Vec<usize> = (0..count * channels).collect();
        let mut y = alloc::vec![usize::MAX; x.len()];
        shuffle(channels, groups, &x, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let (pixel, c) = (i / channels, i % channels);
            prop_assert_eq!(y, pixel * channels + c % groups * each + c / groups);
        }
        let mut back = alloc::vec![usize::MAX; x.len()];
        shuffle(channels, each, &y, &mut back);
        prop_assert_eq!(back, x);
    }
}

#[test]
fn a_table_of_the_identity_changes_nothing() {
    let table: [i8; 256] = core::array::from_fn(|i| (i as i32 - 128) as i8);
    let x: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let mut y = alloc::vec![0; 256];
    lut_i8(&table, &x, &mut y);
    assert_eq!(x, y);
}

#[test]
fn sums_far_beyond_the_output_saturate() {
    // 255 · 10¹² output steps are more than an i32 holds.
    let (a, b) =
        (QuantParams { scale: 1e9, zero_point: 3 }, QuantParams { scale: 1e-3, zero_point: 0 });
    let output = Output { zero_point: -7, lo: -100, hi: 110 };
    let (x, zeros): (Vec<i8>, Vec<i8>) = ((-60..=60).collect(), alloc::vec![0; 121]);
    for isa in Isa::available() {
        let mut y = alloc::vec![0; 121];
        AddI8::new(isa, a, b, 1e-3, output).run(&x, &zeros, &mut y);
        for (&x, y) in x.iter().zip(y) {
            let expected = [-100, -7, 110][usize::from(x >= 3) + usize::from(x > 3)];
            assert_eq!(y, expected, "{isa}: {x}");
        }
    }
}

#[test]
fn activations_have_their_known_values() {
    // Howard et al. 2019 for the hard ones; the logistic function at ln 3 is 3/4.
    let cases = [
        (Activation::Relu, -1.5, 0.0),
        (Activation::Relu6, 7.0, 6.0),
        (Activation::HardSwish, 1.5, 1.125),
        (Activation::HardSwish, -3.0, 0.0),
        (Activation::HardSigmoid, 0.0, 0.5),
        (Activation::Sigmoid, 1.098_612_3, 0.75),
        (Activation::Tanh, 0.549_306_15, 0.5),
        (Activation::Silu, 1.098_612_3, 0.823_959_2),
    ];
    for (function, x, expected) in cases {
        let y = evaluate(function, x);
        assert!((y - expected).abs() <= 2.0 * f32::EPSILON, "{function:?}({x}) = {y}");
    }
}

#[test]
fn softmax_of_infinities_and_one_class() {
    let mut y = [0.0; 3];
    softmax_f32(Isa::Scalar, 3, &[f32::NEG_INFINITY, 1.0, 1.0], &mut y);
    assert_eq!(y, [0.0, 0.5, 0.5]);
    softmax_f32(Isa::Scalar, 1, &[-3e38, 0.0, 3e38], &mut y);
    assert_eq!(y, [1.0; 3]);
}

/// A skip is not a pass: the instruction sets that the other tests ran are named here.
#[test]
#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn the_tests_ran_every_instruction_set_of_this_cpu() {
    let has_avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
    let has_vnni = std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vbmi")
        && std::is_x86_feature_detected!("avx512vnni");
    let mut expected = alloc::vec!["scalar"];
    for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
        let nr = |n| gemm::int8::vector(isa, n).map(|kernel| kernel.nr);
        assert_eq!([nr(8), nr(9)], [Some(8), Some(64)], "{isa}: the linear kernel is another's");
    }
    if has_avx2 {
        expected.push("avx2");
        for (n, k, k_group) in [(16, 640, 4), (64, 63, 4), (64, 64, 2)] {
            let tile = gemm::int8::tile(Isa::Avx2, n, k);
            assert_eq!((tile.lanes, tile.k_group), (8, k_group), "the int8 tile is another's");
        }
        assert_eq!(depthwise::int8(Isa::Avx2).tap_group, 2, "the kernel is the portable one");
    }
    let has_evex_vnni =
        std::is_x86_feature_detected!("avx512vl") && std::is_x86_feature_detected!("avx512vnni");
    if has_avx2 && (std::is_x86_feature_detected!("avxvnni") || has_evex_vnni) {
        expected.push("avxvnni");
        assert_eq!(gemm::int8::tile(Isa::AvxVnni, 64, 64).nr, 32, "the int8 tile is another's");
        assert_eq!(depthwise::int8(Isa::AvxVnni).block, 32, "the kernel is another's");
    }
    if has_avx2 && has_vnni {
        expected.push("avx512vnni");
        assert_eq!(gemm::int8::tile(Isa::Avx512Vnni, 64, 64).nr, 64, "the int8 tile is another's");
        assert_eq!(depthwise::int8(Isa::Avx512Vnni).block, 64, "the kernel is another's");
    }
    let ran: Vec<&str> = Isa::available().map(Isa::name).collect();
    assert_eq!(ran, expected);
}

/// The same for 32-bit ARM: every one that runs Linux and these tests has NEON.
#[test]
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
fn the_tests_ran_every_instruction_set_of_this_cpu() {
    let ran: Vec<&str> = Isa::available().map(Isa::name).collect();
    assert_eq!(ran, ["scalar", "armv7neon"]);
    assert_eq!(gemm::int8::tile(Isa::Armv7Neon, 64, 64).nr, 8, "the int8 tile is the portable one");
}

/// The same for WebAssembly.
#[test]
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn the_tests_ran_every_instruction_set_of_this_cpu() {
    let ran: Vec<&str> = Isa::available().map(Isa::name).collect();
    assert_eq!(ran, ["scalar", "simd128"]);
    assert_eq!(gemm::int8::tile(Isa::Simd128, 64, 64).k_group, 2, "the int8 tile is another's");
    assert_eq!(gemm::float::tile(Isa::Simd128).nr, 8, "the f32 tile is another's");
}

/// The same for AArch64.
#[test]
#[cfg(all(target_arch = "aarch64", feature = "std"))]
fn the_tests_ran_every_instruction_set_of_this_cpu() {
    let mut expected = alloc::vec!["scalar", "neon"];
    assert_eq!(gemm::int8::tile(Isa::Neon, 64, 64).k_group, 2, "the int8 tile is the portable one");
    assert_eq!(gemm::float::tile(Isa::Neon).nr, 8, "the f32 tile is the portable one");
    if std::arch::is_aarch64_feature_detected!("dotprod") {
        expected.push("dotprod");
        assert_eq!(gemm::int8::tile(Isa::Dotprod, 64, 64).k_group, 4, "the int8 tile is another's");
        assert_eq!(depthwise::int8(Isa::Dotprod).tap_group, 4, "the kernel is another's");
    }
    if std::arch::is_aarch64_feature_detected!("i8mm") {
        expected.push("i8mm");
        assert_eq!(gemm::int8::tile(Isa::I8mm, 64, 64).k_group, 8, "the int8 tile is another's");
    }
    let ran: Vec<&str> = Isa::available().map(Isa::name).collect();
    assert_eq!(ran, expected);
}
