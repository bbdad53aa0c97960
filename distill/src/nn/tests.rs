//! Operators against loops in f64, central differences and their compositions.
#![expect(clippy::unwrap_used, reason = "tests")]

use candle_core::{Device, Tensor};
use hipflask_runtime::graph::Activation;

use super::gradcheck::{assert_close, assert_gradients, backward, distinct, random, values};
use super::*;
use crate::{ErrorKind, Result};

/// `(input [n, c, h, w], weights [out, in, kh, kw], spec)`.
fn convolutions() -> Vec<([usize; 4], [usize; 4], Conv2dSpec)> {
    let plain = Conv2dSpec::default();
    vec![
        ([2, 3, 5, 4], [4, 3, 1, 1], plain),
        ([2, 3, 5, 4], [4, 3, 1, 1], Conv2dSpec { stride: [2, 2], ..plain }),
        ([2, 2, 5, 7], [3, 2, 3, 3], Conv2dSpec { padding: [1; 4], ..plain }),
        ([3, 2, 7, 6], [3, 2, 3, 3], Conv2dSpec { stride: [2, 2], padding: [1; 4], ..plain }),
        ([2, 2, 7, 8], [2, 2, 3, 2], Conv2dSpec { stride: [3, 2], padding: [0, 1, 2, 0], ..plain }),
        ([1, 2, 8, 7], [2, 2, 3, 3], Conv2dSpec { dilation: [2, 3], padding: [2; 4], ..plain }),
        (
            [2, 4, 6, 5],
            [6, 2, 3, 3],
            Conv2dSpec { groups: 2, stride: [2, 1], padding: [1; 4], ..plain },
        ),
        ([2, 3, 4, 4], [6, 1, 3, 3], Conv2dSpec { groups: 3, padding: [1; 4], ..plain }),
        ([2, 3, 7, 5], [3, 1, 3, 3], Conv2dSpec { groups: 3, padding: [1; 4], ..plain }),
        (
            [3, 2, 8, 7],
            [2, 1, 3, 3],
            Conv2dSpec { groups: 2, stride: [2, 2], padding: [0, 0, 1, 1], ..plain },
        ),
        (
            [2, 2, 9, 8],
            [2, 1, 4, 2],
            Conv2dSpec {
                groups: 2,
                stride: [2, 3],
                padding: [3, 1, 0, 2],
                dilation: [2, 1],
                ..plain
            },
        ),
    ]
}

/// The definition, in f64.
fn naive_conv(x: &Tensor, w: &Tensor, bias: &Tensor, spec: &Conv2dSpec) -> Tensor {
    let ([n, c_in, h, width], [c_out, c_group, kh, kw]) =
        (<[usize; 4]>::try_from(x.dims()).unwrap(), <[usize; 4]>::try_from(w.dims()).unwrap());
    let out = |size: usize, k: usize, axis: usize| {
        (size + spec.padding[axis] + spec.padding[axis + 2] - (k - 1) * spec.dilation[axis] - 1)
            / spec.stride[axis]
            + 1
    };
    let (out_h, out_w) = (out(h, kh, 0), out(width, kw, 1));
    let (x, w, bias) = (values(x), values(w), values(bias));
    let mut y = Vec::new();
    for at in 0..n * c_out * out_h * out_w {
        let (b, o) = (at / (c_out * out_h * out_w), at / (out_h * out_w) % c_out);
        let (oy, ox) = (at / out_w % out_h, at % out_w);
        let mut sum = f64::from(bias[o]);
        for tap in 0..c_group * kh * kw {
            let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let c_x = o / (c_out / spec.groups) * c_group + c;
            let iy = (oy * spec.stride[0] + ky * spec.dilation[0]).wrapping_sub(spec.padding[0]);
            let ix = (ox * spec.stride[1] + kx * spec.dilation[1]).wrapping_sub(spec.padding[1]);
            if iy < h && ix < width {
                let x = x[((b * c_in + c_x) * h + iy) * width + ix];
                sum += f64::from(x) * f64::from(w[o * c_group * kh * kw + tap]);
            }
        }
        y.push(sum as f32);
    }
    Tensor::from_vec(y, (n, c_out, out_h, out_w), &Device::Cpu).unwrap()
}

#[test]
fn convolutions_and_their_composition_equal_the_definition() {
    for (x, w, spec) in convolutions() {
        let what = format!("{x:?} {w:?} {spec:?}");
        let (x, w, bias) = (random(&x, 1), random(&w, 2), random(&w[..1], 3));
        let expected = naive_conv(&x, &w, &bias, &spec);
        assert_close(&what, &conv2d(&x, &w, Some(&bias), &spec).unwrap(), &expected);
        assert_close(&what, &composed::conv2d(&x, &w, Some(&bias), &spec).unwrap(), &expected);
    }
}

#[test]
fn convolution_gradients_equal_differences() {
    for (x, w, spec) in convolutions() {
        let what = format!("{x:?} {w:?} {spec:?}");
        let inputs = [random(&x, 1), random(&w, 2), random(&w[..1], 3)];
        assert_gradients(&what, &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), &spec));
        assert_gradients(&what, &inputs[..2], |t| conv2d(&t[0], &t[1], None, &spec));
        let composed = backward(&inputs, |t| composed::conv2d(&t[0], &t[1], Some(&t[2]), &spec));
        let own = backward(&inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), &spec)).unwrap();
        for (composed, own) in composed.unwrap().iter().zip(&own) {
            assert_close(&format!("composed {what}"), composed, own);
        }
    }
}

/// What small cases never reach: whole vectors and the rest of a row, tiles of rows and what is left
/// of them, several samples in a part of the batch.
#[test]
fn convolutions_over_many_samples_and_wide_planes_equal_their_composition() {
    let padded = Conv2dSpec { padding: [1; 4], ..Conv2dSpec::default() };
    for (x, w, spec) in [
        ([36, 5, 9, 19], [11, 5, 3, 3], padded),
        ([36, 5, 9, 19], [11, 5, 3, 3], Conv2dSpec { stride: [2, 2], ..padded }),
        ([36, 3, 9, 23], [3, 1, 3, 3], Conv2dSpec { groups: 3, ..padded }),
        ([36, 9, 5, 13], [13, 9, 1, 1], Conv2dSpec::default()),
    ] {
        let what = format!("{x:?} {w:?} {spec:?}");
        let inputs = [random(&x, 1), random(&w, 2), random(&w[..1], 3)];
        let conv = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), &spec);
        let composed = |t: &[Tensor]| composed::conv2d(&t[0], &t[1], Some(&t[2]), &spec);
        assert_close(&what, &conv(&inputs).unwrap(), &composed(&inputs).unwrap());
        let expected = backward(&inputs, composed).unwrap();
        for (own, expected) in backward(&inputs, conv).unwrap().iter().zip(&expected) {
            assert_close(&what, own, expected);
        }
    }
}

#[test]
fn an_input_without_gradient_changes_no_other_gradient() {
    for (x, w, spec) in convolutions() {
        let (x, w) = (random(&x, 1), random(&w, 2));
        let both =
            backward(&[w.clone(), x.clone()], |t| conv2d(&t[1], &t[0], None, &spec)).unwrap();
        let alone = backward(&[w], |t| conv2d(&x, &t[0], None, &spec)).unwrap();
        assert_eq!(values(&alone[0]), values(&both[0]), "{spec:?}");
    }
}

#[test]
fn training_operators_give_the_same_bits_on_any_number_of_threads() {
    let spec = Conv2dSpec { padding: [1; 4], ..Conv2dSpec::default() };
    let depthwise = Conv2dSpec { groups: 8, ..spec };
    let step = || {
        let inputs = [
            random(&[37, 3, 9, 9], 1),
            random(&[8, 3, 3, 3], 2),
            random(&[8, 1, 3, 3], 3),
            random(&[8], 4),
            random(&[70, 8], 5),
        ];
        let gradients = backward(&inputs, |t| {
            let y = conv2d(&t[0], &t[1], Some(&t[3]), &spec)?;
            let y = conv2d(&y, &t[2], None, &depthwise)?;
            let (y, _) = batch_norm_train(&y, &t[3], &t[3], 1e-5, true)?;
            let y = global_avg_pool(&y)?.flatten_from(1)?;
            log_softmax(&linear(&y, &t[4], None)?)
        });
        gradients.unwrap().iter().map(values).collect::<Vec<_>>()
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let one = pool(1).install(step);
    for threads in [2, 3, 7] {
        assert_eq!(pool(threads).install(step), one, "{threads} threads");
    }
}

#[test]
fn mismatched_convolutions_are_errors() {
    let conv = |x: &[usize], w: &[usize], groups| {
        let spec = Conv2dSpec { groups, ..Conv2dSpec::default() };
        conv2d(&random(x, 1), &random(w, 2), None, &spec).unwrap_err().kind()
    };
    assert_eq!(conv(&[1, 3, 4], &[2, 3, 1, 1], 1), ErrorKind::Shape);
    assert_eq!(conv(&[1, 3, 4, 4], &[2, 2, 1, 1], 1), ErrorKind::Shape);
    assert_eq!(conv(&[1, 3, 4, 4], &[2, 3, 1, 1], 0), ErrorKind::Shape);
    assert_eq!(conv(&[1, 3, 4, 4], &[2, 3, 5, 5], 1), ErrorKind::Shape);
}

#[test]
fn batch_norm_normalises_with_biased_and_reports_unbiased_variance() {
    // One channel with values 1, 2, 3, 6: mean 3, biased variance 3.5, unbiased 14/3.
    let x = Tensor::new(&[[1.0_f32], [2.0], [3.0], [6.0]], &Device::Cpu).unwrap();
    let gamma = Tensor::new(&[2.0_f32], &Device::Cpu).unwrap();
    let beta = Tensor::new(&[0.5_f32], &Device::Cpu).unwrap();
    let (y, statistics) = batch_norm_train(&x, &gamma, &beta, 0.5, false).unwrap();
    // √(3.5 + 0.5) = 2, so y = (x - 3) / 2 · 2 + 0.5.
    assert_eq!(values(&y), [-1.5, -0.5, 0.5, 3.5]);
    assert_eq!(values(&statistics.mean), [3.0]);
    assert_eq!(values(&statistics.variance), [3.5]);
    assert!((values(&statistics.unbiased_variance)[0] - 14.0 / 3.0).abs() < 1e-6);
    let (y, _) = batch_norm_train(&x, &gamma, &beta, 0.5, true).unwrap();
    assert_eq!(values(&y), [0.0, 0.0, 0.5, 3.5]);
    let y = batch_norm_eval(&x, &gamma, &beta, &statistics.mean, &statistics.variance, 0.5);
    assert_eq!(values(&y.unwrap()), [-1.5, -0.5, 0.5, 3.5]);
    assert!(batch_norm_train(&x.narrow(0, 0, 1).unwrap(), &gamma, &beta, 0.5, false).is_err());
}

#[test]
fn batch_norm_gradients_equal_differences() {
    for shape in [vec![5, 3], vec![3, 2, 3, 5], vec![2, 1, 4, 9]] {
        let c = shape[1];
        let inputs = [distinct(&shape, 2.0, 1), random(&[c], 2), random(&[c], 3)];
        let train =
            |t: &[Tensor], relu| batch_norm_train(&t[0], &t[1], &t[2], 0.1, relu).map(|(y, _)| y);
        assert_gradients(&format!("{shape:?}"), &inputs, |t| train(t, false));
        let mean = random(&[c], 4);
        let variance = (random(&[c], 5) + 1.5).unwrap();
        assert_gradients(&format!("{shape:?} evaluation"), &inputs, |t| {
            batch_norm_eval(&t[0], &t[1], &t[2], &mean, &variance, 0.1)
        });
        let relu_after = |t: &[Tensor]| activate(&train(t, false)?, Activation::Relu);
        let composed = |t: &[Tensor]| {
            let (y, ..) = composed::batch_norm(&t[0], &t[1], &t[2], 0.1, false)?;
            activation::composed(&y, Activation::Relu)
        };
        let fused = backward(&inputs, |t| train(t, true)).unwrap();
        let apart = backward(&inputs, relu_after).unwrap();
        let composed = backward(&inputs, composed).unwrap();
        for i in 0..3 {
            assert_close(&format!("{shape:?} fused, input {i}"), &fused[i], &apart[i]);
            assert_close(&format!("{shape:?} composed, input {i}"), &composed[i], &apart[i]);
        }
    }
}

#[test]
fn batch_norm_keeps_its_precision_far_from_zero() {
    // Σx² of values near 1000 in f32 would lose a variance of 1.
    let x = (random(&[64, 1, 8, 8], 1) + 1000.0).unwrap();
    let one = Tensor::ones(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let (_, statistics) = batch_norm_train(&x, &one, &one, 1e-5, false).unwrap();
    let exact: Vec<f64> = values(&x).into_iter().map(f64::from).collect();
    let mean = exact.iter().sum::<f64>() / exact.len() as f64;
    let variance = exact.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / exact.len() as f64;
    assert!((f64::from(values(&statistics.variance)[0]) / variance - 1.0).abs() < 1e-5);
}

fn pools() -> Vec<PoolSpec> {
    vec![
        PoolSpec { kernel: [2, 2], stride: [2, 2], padding: [0; 4] },
        PoolSpec { kernel: [3, 3], stride: [2, 2], padding: [1; 4] },
        PoolSpec { kernel: [3, 2], stride: [1, 3], padding: [0, 1, 2, 0] },
    ]
}

#[test]
fn pooling_and_its_composition_equal_differences_and_each_other() {
    for spec in pools() {
        // Odd sizes, where candle's own gradients are wrong.
        let x = [distinct(&[2, 1, 7, 5], 3.0, 1)];
        let what = format!("{spec:?}");
        assert_gradients(&what, &x, |t| max_pool2d(&t[0], &spec));
        let own = (max_pool2d(&x[0], &spec).unwrap(), backward(&x, |t| max_pool2d(&t[0], &spec)));
        assert_close(&what, &composed::max_pool2d(&x[0], &spec).unwrap(), &own.0);
        let composed = backward(&x, |t| composed::max_pool2d(&t[0], &spec)).unwrap();
        assert_close(&what, &composed[0], &own.1.unwrap()[0]);
        for count in [false, true] {
            assert_gradients(&what, &x, |t| avg_pool2d(&t[0], &spec, count));
            let own = avg_pool2d(&x[0], &spec, count).unwrap();
            assert_close(&what, &composed::avg_pool2d(&x[0], &spec, count).unwrap(), &own);
            let composed = backward(&x, |t| composed::avg_pool2d(&t[0], &spec, count)).unwrap();
            let own = backward(&x, |t| avg_pool2d(&t[0], &spec, count)).unwrap();
            assert_close(&what, &composed[0], &own[0]);
        }
    }
}

#[test]
fn pooling_values_are_those_of_a_hand_computed_plane() {
    let x = Tensor::new(&[[[[1.0_f32, 5.0, 2.0], [4.0, 3.0, 9.0], [7.0, 7.0, 8.0]]]], &Device::Cpu);
    let x = x.unwrap();
    let spec = PoolSpec { kernel: [2, 2], stride: [2, 2], padding: [1, 1, 0, 0] };
    assert_eq!(values(&max_pool2d(&x, &spec).unwrap()), [1.0, 5.0, 7.0, 9.0]);
    assert_eq!(values(&avg_pool2d(&x, &spec, true).unwrap()), [0.25, 1.75, 2.75, 6.75]);
    assert_eq!(values(&avg_pool2d(&x, &spec, false).unwrap()), [1.0, 3.5, 5.5, 6.75]);
    assert_eq!(values(&global_avg_pool(&x).unwrap()), [46.0 / 9.0]);
    assert_gradients("global", &[x], |t| global_avg_pool(&t[0]));
    let wide = PoolSpec { padding: [2, 0, 0, 0], ..spec };
    assert_eq!(max_pool2d(&random(&[1, 1, 4, 4], 1), &wide).unwrap_err().kind(), ErrorKind::Shape);
}

#[test]
fn the_first_of_equal_maxima_gets_the_gradient() {
    let x = Tensor::full(2.0_f32, (1, 1, 2, 2), &Device::Cpu).unwrap();
    let spec = pools()[0];
    for pool in [max_pool2d, composed::max_pool2d] {
        let gradient = &backward(std::slice::from_ref(&x), |t| pool(&t[0], &spec)).unwrap()[0];
        let functional = values(&random(&[1, 1, 1, 1], 99))[0];
        assert_eq!(values(gradient), [functional, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn linear_and_softmax_gradients_equal_differences() {
    let inputs = [random(&[35, 3], 1), random(&[4, 3], 2), random(&[4], 3)];
    assert_gradients("linear", &inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
    assert_gradients("linear without bias", &inputs[..2], |t| linear(&t[0], &t[1], None));
    let expected = inputs[0].matmul(&inputs[1].t().unwrap()).unwrap();
    let expected = expected.broadcast_add(&inputs[2]).unwrap();
    let got = linear(&inputs[0], &inputs[1], Some(&inputs[2])).unwrap();
    assert_close("linear", &got, &expected);
    assert_eq!(linear(&inputs[0], &inputs[2], None).unwrap_err().kind(), ErrorKind::Shape);
    let x = [distinct(&[3, 5], 3.0, 4)];
    assert_gradients("log softmax", &x, |t| log_softmax(&t[0]));
    assert_gradients("composed log softmax", &x, |t| composed::log_softmax(&t[0]));
    assert_gradients("softmax", &x, |t| softmax(&t[0]));
}

#[test]
fn log_softmax_is_finite_for_huge_logits() {
    let x = Tensor::new(&[[1e30_f32, 0.0, -1e30], [-3e38, -3e38, -3e38]], &Device::Cpu).unwrap();
    for y in [log_softmax(&x).unwrap(), composed::log_softmax(&x).unwrap()] {
        let third = -(3.0_f32.ln());
        assert_eq!(values(&y)[..3], [0.0, -1e30, -2e30]);
        assert!(values(&y)[3..].iter().all(|v| (v - third).abs() < 1e-6), "{y}");
    }
}

#[test]
fn activation_gradients_equal_differences_and_their_composition() {
    // 64 values in ±8: the kinks at ±3 and 6 fall between grid points 0.25 apart.
    let x = [distinct(&[64], 8.0, 1)];
    for kind in Activation::ALL {
        let what = format!("{kind:?}");
        assert_gradients(&what, &x, |t| activate(&t[0], kind));
        let own = activate(&x[0], kind).unwrap();
        assert_close(&what, &activation::composed(&x[0], kind).unwrap(), &own);
        let composed = backward(&x, |t| activation::composed(&t[0], kind)).unwrap();
        let own = backward(&x, |t| activate(&t[0], kind)).unwrap();
        assert_close(&what, &composed[0], &own[0]);
    }
}

#[test]
fn slopes_at_the_kinks_are_those_of_pytorch() {
    type Apply = fn(&Tensor, Activation) -> Result<Tensor>;
    let x = Tensor::new(&[-3.0_f32, 0.0, 3.0, 6.0], &Device::Cpu).unwrap();
    for (kind, expected) in [
        (Activation::Relu, [0.0, 0.0, 1.0, 1.0]),
        (Activation::Relu6, [0.0, 0.0, 1.0, 0.0]),
        (Activation::HardSwish, [0.0, 0.5, 1.0, 1.0]),
        (Activation::HardSigmoid, [0.0, 1.0 / 6.0, 0.0, 0.0]),
    ] {
        for apply in [activate as Apply, activation::composed as Apply] {
            let r = values(&random(&[4], 99));
            let gradient = &backward(std::slice::from_ref(&x), |t| apply(&t[0], kind)).unwrap()[0];
            for ((g, r), e) in values(gradient).iter().zip(r).zip(expected) {
                assert!((g - r * e).abs() < 1e-6, "{kind:?}: {gradient}");
            }
        }
    }
}

#[test]
fn nan_is_not_hidden() {
    let nan = Tensor::full(f32::NAN, (2, 1, 2, 2), &Device::Cpu).unwrap();
    let one = Tensor::ones(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut seen = vec![
        max_pool2d(&nan, &pools()[0]).unwrap(),
        log_softmax(&nan).unwrap(),
        batch_norm_train(&nan, &one, &one, 1e-5, true).unwrap().0,
    ];
    seen.extend(Activation::ALL.map(|kind| activate(&nan, kind).unwrap()));
    seen.extend(Activation::ALL.map(|kind| activation::composed(&nan, kind).unwrap()));
    for y in seen {
        assert!(values(&y).iter().all(|v| v.is_nan()), "{y}");
    }
}
