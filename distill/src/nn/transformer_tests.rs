//! A transformer's operators against definitions in f64, central differences, PyTorch and their
//! compositions.
#![expect(clippy::unwrap_used, reason = "tests")]

use candle_core::{Device, Tensor, Var};
use hipflask_runtime::graph::Activation;

use super::gradcheck::{assert_close, assert_gradients, backward, random, values};
use super::*;
use crate::{ErrorKind, Result};

/// `(samples, tokens, heads, elements of a head)`: odd sizes, several blocks of vectors.
const SIZES: [[usize; 4]; 5] =
    [[2, 5, 2, 3], [1, 1, 1, 1], [3, 17, 1, 5], [1, 33, 3, 2], [2, 7, 2, 17]];

/// Ids of which some are padding; in the first sample all are where there are several samples.
fn ids(n: usize, tokens: usize) -> Tensor {
    let id = |i: usize| if n > 1 && i < tokens || i % 3 == 1 { 0.0 } else { (i % 5 + 1) as f32 };
    let ids: Vec<f32> = (0..n * tokens).map(id).collect();
    Tensor::from_vec(ids, (n, tokens), &Device::Cpu).unwrap()
}

/// The definition, in f64.
fn naive_attention(qkv: &Tensor, heads: usize, ids: Option<&Tensor>) -> Tensor {
    let (n, tokens, width) = qkv.dims3().unwrap();
    let (width, head) = (width / 3, width / 3 / heads);
    let (x, ids) = (values(qkv), ids.map(values));
    let at = |sample: usize, token: usize, i: usize| {
        f64::from(x[(sample * tokens + token) * 3 * width + i])
    };
    let mut y = Vec::new();
    for (place, i) in (0..n * tokens).flat_map(|p| (0..width).map(move |i| (p, i))) {
        let (sample, query, first) = (place / tokens, place % tokens, i / head * head);
        let weight = |key: usize| {
            let product = |j| at(sample, query, first + j) * at(sample, key, width + first + j);
            let score = (0..head).map(product).sum::<f64>() / (head as f64).sqrt();
            match &ids {
                Some(ids) if ids[sample * tokens + key] == 0.0 => 0.0,
                _ => score.exp(),
            }
        };
        let total: f64 = (0..tokens).map(weight).sum();
        let sum: f64 = (0..tokens).map(|k| weight(k) * at(sample, k, 2 * width + i)).sum();
        y.push(if total == 0.0 { 0.0 } else { sum / total } as f32);
    }
    Tensor::from_vec(y, (n, tokens, width), &Device::Cpu).unwrap()
}

#[test]
fn attention_and_its_composition_equal_the_definition_and_differences() {
    for [n, tokens, heads, head] in SIZES {
        let qkv = [(random(&[n, tokens, 3 * heads * head], 1) * 2.0).unwrap()];
        let ids = ids(n, tokens);
        for ids in [None, Some(&ids)] {
            let what = format!("{n}×{tokens}, {heads} heads of {head}, ids {}", ids.is_some());
            let own = |t: &[Tensor]| attention(&t[0], heads, ids);
            let by_candle = |t: &[Tensor]| attention::composed(&t[0], heads, ids);
            let expected = naive_attention(&qkv[0], heads, ids);
            assert_close(&what, &own(&qkv).unwrap(), &expected);
            assert_close(&what, &by_candle(&qkv).unwrap(), &expected);
            let gradient = &backward(&qkv, own).unwrap()[0];
            assert_close(&what, &backward(&qkv, by_candle).unwrap()[0], gradient);
            if tokens < 17 {
                assert_gradients(&what, &qkv, own);
            }
        }
    }
}

#[test]
fn attention_without_a_gradient_gives_the_same_bits() {
    let qkv = random(&[3, 19, 24], 1);
    let tracked = Var::from_tensor(&qkv).unwrap();
    let kept = attention(tracked.as_tensor(), 2, None).unwrap();
    assert_eq!(values(&attention(&qkv, 2, None).unwrap()), values(&kept));
}

#[test]
fn layer_norm_and_its_composition_equal_the_definition_and_differences() {
    for (shape, seed) in [(&[5, 7][..], 1), (&[2, 3, 19], 2), (&[67, 2], 3), (&[3, 1, 33], 4)] {
        let width = *shape.last().unwrap();
        let inputs = [random(shape, seed), random(&[width], 5), random(&[width], 6)];
        let (x, gamma, beta) = (values(&inputs[0]), values(&inputs[1]), values(&inputs[2]));
        let mut expected = Vec::new();
        for row in x.chunks(width) {
            let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            for (i, v) in row.iter().enumerate() {
                let unit = (v - mean) / (variance + 0.1).sqrt();
                expected.push((unit * f64::from(gamma[i]) + f64::from(beta[i])) as f32);
            }
        }
        let expected = Tensor::from_vec(expected, shape, &Device::Cpu).unwrap();
        let what = format!("{shape:?}");
        let own = |t: &[Tensor]| layer_norm(&t[0], &t[1], &t[2], 0.1);
        let by_candle = |t: &[Tensor]| layer_norm::composed(&t[0], &t[1], &t[2], 0.1);
        assert_close(&what, &own(&inputs).unwrap(), &expected);
        assert_close(&what, &by_candle(&inputs).unwrap(), &expected);
        assert_gradients(&what, &inputs, own);
        let gradients = backward(&inputs, own).unwrap();
        for (composed, own) in backward(&inputs, by_candle).unwrap().iter().zip(&gradients) {
            assert_close(&what, composed, own);
        }
    }
}

#[test]
fn each_row_of_an_embedding_gets_the_gradients_of_its_tokens() {
    let ids = Tensor::new(&[[1.0_f32, 2.0, 1.0], [-4.0, 9.0, 1.0]], &Device::Cpu).unwrap();
    let rows = [random(&[3, 2], 1)];
    let (r, w) = (values(&random(&[2, 3, 2], 99)), values(&rows[0]));
    let row = |id: usize| &w[2 * id..][..2];
    let expected = [row(1), row(2), row(1), row(0), row(2), row(1)].concat();
    assert_eq!(values(&embedding(&ids, &rows[0]).unwrap()), expected);
    let gradient = values(&backward(&rows, |t| embedding(&ids, &t[0])).unwrap()[0]);
    let token = |at: usize| [r[2 * at], r[2 * at + 1]];
    let sum = |tokens: &[usize]| -> Vec<f32> {
        (0..2).map(|i| tokens.iter().map(|&at| token(at)[i]).sum()).collect()
    };
    assert_eq!(gradient, [sum(&[3]), sum(&[0, 2, 5]), sum(&[1, 4])].concat());
    assert_gradients("embedding", &rows, |t| embedding(&ids, &t[0]));
}

#[test]
fn positions_and_means_of_tokens_have_the_gradients_of_differences() {
    let inputs = [random(&[3, 5, 7], 1), random(&[1, 5, 7], 2)];
    assert_gradients("positions", &inputs, |t| add_position(&t[0], &t[1]));
    let sum = inputs[0].broadcast_add(&inputs[1]).unwrap();
    assert_eq!(values(&add_position(&inputs[0], &inputs[1]).unwrap()), values(&sum));

    let (x, ids) = ([random(&[3, 5, 7], 3)], ids(3, 5));
    for ids in [None, Some(&ids)] {
        let composed = tokens::composed_mean(&x[0], ids).unwrap();
        assert_close("mean", &mean_tokens(&x[0], ids).unwrap(), &composed);
        assert_gradients("mean", &x, |t| mean_tokens(&t[0], ids));
        assert_gradients("composed mean", &x, |t| tokens::composed_mean(&t[0], ids));
    }
    let x = Tensor::new(&[[[1.0_f32, 2.0], [3.0, 6.0], [5.0, 100.0]]], &Device::Cpu).unwrap();
    let ids = Tensor::new(&[[4.0_f32, 1.0, 0.0]], &Device::Cpu).unwrap();
    assert_eq!(values(&mean_tokens(&x, Some(&ids)).unwrap()), [2.0, 4.0]);
    assert_eq!(values(&mean_tokens(&x, None).unwrap()), [3.0, 36.0]);
}

#[test]
fn a_linear_layer_treats_each_token_alike() {
    let inputs = [random(&[3, 5, 4], 1), random(&[6, 4], 2), random(&[6], 3)];
    let y = linear(&inputs[0], &inputs[1], Some(&inputs[2])).unwrap();
    let flat = inputs[0].flatten_to(1).unwrap();
    let rows = linear(&flat, &inputs[1], Some(&inputs[2])).unwrap();
    assert_eq!((y.dims(), values(&y)), (&[3, 5, 6][..], values(&rows)));
    assert_gradients("linear", &inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
}

/// `scale · sin(start + 1.7 k)` for k = 0, 1, …
fn wave(shape: &[usize], start: f64, scale: f64) -> Tensor {
    let at = |k: usize| (scale * (start + 1.7 * k as f64).sin()) as f32;
    let values: Vec<f32> = (0..shape.iter().product()).map(at).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn outputs_and_gradients_are_pytorchs() {
    // What tests/pytorch/transformers.py prints: Σ r·y, then first and last elements of y and of
    // each gradient.
    let check = |what: &str,
                 inputs: &[Tensor],
                 f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
                 expected: &[f32]| {
        let variables: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
        let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let y = f(&tensors).unwrap();
        let total = (&y * wave(y.dims(), 0.7, 1.0)).unwrap().sum_all().unwrap();
        let gradients = total.backward().unwrap();
        let ends = |x: &Tensor| [values(x)[0], *values(x).last().unwrap()];
        let mut got = vec![total.to_scalar::<f32>().unwrap()];
        got.extend(ends(&y));
        for variable in &variables {
            got.extend(ends(gradients.get(variable).unwrap()));
        }
        assert_eq!(got.len(), expected.len(), "{what}");
        for (got, expected) in got.into_iter().zip(expected) {
            assert!(
                (got - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "{what}: {got} {expected}"
            );
        }
    };
    let ids = [[3.0_f32, 1.0, 0.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]];
    let ids = Tensor::new(&ids, &Device::Cpu).unwrap();
    let qkv = [wave(&[2, 5, 18], 0.3, 2.0)];
    let expected = [-1.668_913, -1.764_673, -1.285_176, -0.022_875_1, 0.324_064_9];
    check("attention", &qkv, &|t| attention(&t[0], 2, None), &expected);
    let expected = [-2.818_871, -0.988_390_5, -1.285_54, -0.205_373_9, 0.0];
    check("attention, padded", &qkv, &|t| attention(&t[0], 2, Some(&ids)), &expected);
    let inputs = [wave(&[2, 5, 6], 1.1, 3.0), wave(&[6], 0.2, 1.5), wave(&[6], 0.9, 0.5)];
    let expected = [
        5.725_601,
        0.712_257_7,
        1.101_922,
        -0.217_299_7,
        0.240_198_2,
        6.935_416,
        4.782_039,
        -0.362_149_7,
        0.718_542_3,
    ];
    check("layer norm", &inputs, &|t| layer_norm(&t[0], &t[1], &t[2], 1e-5), &expected);
    let expected = [41.929_18, 2.664_064, 2.266_299, 0.661_094_2, 0.477_308_6];
    check("gelu", &inputs[..1], &|t| activate(&t[0], Activation::Gelu), &expected);
    let expected = [-5.375_715, -0.310_697_3, 0.412_118_5, -0.819_145_3, 0.222_889_9];
    check("embedding", &[wave(&[4, 6], 0.5, 1.0)], &|t| embedding(&ids, &t[0]), &expected);
}

#[test]
fn a_transformers_gradients_are_the_same_bits_on_any_number_of_threads() {
    let ids = ids(9, 21);
    let step = || {
        let inputs = [
            random(&[40, 12], 1),
            random(&[1, 21, 12], 2),
            random(&[36, 12], 3),
            random(&[12], 4),
            random(&[12], 5),
        ];
        let gradients = backward(&inputs, |t| {
            let x = add_position(&embedding(&ids, &t[0])?, &t[1])?;
            let x = layer_norm(&x, &t[3], &t[4], 1e-5)?;
            let x = attention(&linear(&x, &t[2], None)?, 3, Some(&ids))?;
            mean_tokens(&activate(&x, Activation::Gelu)?, Some(&ids))
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
fn shapes_that_do_not_fit_are_errors() {
    let (x, ids) = (random(&[2, 3, 12], 1), ids(2, 3));
    let kinds = [
        attention(&x, 5, None).map(drop),
        attention(&x, 0, None).map(drop),
        attention(&random(&[2, 12], 1), 2, None).map(drop),
        attention(&x, 2, Some(&random(&[3, 2], 1))).map(drop),
        layer_norm(&x, &random(&[11], 1), &random(&[12], 1), 1e-5).map(drop),
        embedding(&ids, &random(&[4], 1)).map(drop),
        embedding(&x, &random(&[4, 2], 1)).map(drop),
        add_position(&x, &random(&[1, 2, 12], 1)).map(drop),
        mean_tokens(&ids, None).map(drop),
        mean_tokens(&x, Some(&random(&[3, 2], 1))).map(drop),
        linear(&random(&[2, 2, 2, 4], 1), &random(&[3, 4], 1), None).map(drop),
    ];
    for (case, result) in kinds.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Shape, "case {case}");
    }
}
