//! The operators on a GPU against those on the CPU: values and gradients.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use candle_core::{Device, Tensor, Var};

use super::super::gradcheck::{assert_close, random};
use super::super::*;
use crate::Result;

/// The first GPU, or a word on stderr that there is none.
fn gpu(test: &str) -> Option<Device> {
    let device = Device::new_cuda(0);
    if let Err(error) = &device {
        eprintln!("skipped: {test}: no CUDA device: {error}");
    }
    device.ok()
}

/// `f` of the inputs and its gradients, moved to the CPU.
fn on(device: &Device, inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Tensor> {
    let variables: Vec<Var> =
        inputs.iter().map(|t| Var::from_tensor(&t.to_device(device).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let weights = random(y.dims(), 99).to_device(device).unwrap();
    let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let found = tensors.iter().map(|t| gradients.get(t).unwrap().clone());
    std::iter::once(y.clone()).chain(found).map(|t| t.to_device(&Device::Cpu).unwrap()).collect()
}

fn assert_same(
    gpu: &Device,
    what: &str,
    inputs: &[Tensor],
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) {
    let (there, here) = (on(gpu, inputs, f), on(&Device::Cpu, inputs, f));
    for (i, (there, here)) in there.iter().zip(&here).enumerate() {
        assert_close(&format!("{what}, tensor {i}"), there, here);
    }
}

#[test]
fn convolutions_equal_the_cpus() {
    let Some(gpu) = gpu("convolutions_equal_the_cpus") else { return };
    let plain = Conv2dSpec::default();
    for (x, w, spec) in [
        ([4, 3, 9, 7], [8, 3, 3, 3], Conv2dSpec { padding: [1; 4], ..plain }),
        ([4, 3, 9, 8], [8, 3, 3, 3], Conv2dSpec { stride: [2, 2], padding: [0, 1, 1, 0], ..plain }),
        ([4, 6, 5, 5], [8, 6, 1, 1], plain),
        ([4, 6, 5, 5], [8, 6, 1, 1], Conv2dSpec { stride: [2, 2], ..plain }),
        ([2, 3, 9, 9], [4, 3, 3, 2], Conv2dSpec { dilation: [2, 1], stride: [1, 3], ..plain }),
        ([2, 4, 6, 5], [6, 2, 3, 3], Conv2dSpec { groups: 2, padding: [1; 4], ..plain }),
        ([3, 5, 9, 8], [5, 1, 3, 3], Conv2dSpec { groups: 5, padding: [1; 4], ..plain }),
        (
            [70, 5, 9, 8],
            [5, 1, 5, 3],
            Conv2dSpec { groups: 5, stride: [2, 2], padding: [2; 4], ..plain },
        ),
    ] {
        let inputs = [random(&x, 1), random(&w, 2), random(&w[..1], 3)];
        let f = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), &spec);
        assert_same(&gpu, &format!("{x:?} by {w:?}, {spec:?}"), &inputs, &f);
    }
}

#[test]
fn batch_norms_equal_the_cpus() {
    let Some(gpu) = gpu("batch_norms_equal_the_cpus") else { return };
    for (shape, relu) in [(vec![33, 4, 5, 7], true), (vec![5, 3, 8, 8], false), (vec![64, 9], true)]
    {
        let c = shape[1];
        let inputs = [random(&shape, 1), random(&[c], 2), random(&[c], 3)];
        let f = |t: &[Tensor]| Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-5, relu)?.0);
        assert_same(&gpu, &format!("batch norm of {shape:?}, relu {relu}"), &inputs, &f);
        let of = |device: &Device| {
            let on: Vec<Tensor> = inputs.iter().map(|t| t.to_device(device).unwrap()).collect();
            batch_norm_train(&on[0], &on[1], &on[2], 1e-5, relu).unwrap().1
        };
        let (there, here) = (of(&gpu), of(&Device::Cpu));
        let variance = there.unbiased_variance.to_device(&Device::Cpu).unwrap();
        assert_close("variance", &variance, &here.unbiased_variance);
        assert_close("mean", &there.mean.to_device(&Device::Cpu).unwrap(), &here.mean);
    }
}

#[test]
fn pools_and_softmax_equal_the_cpus() {
    let Some(gpu) = gpu("pools_and_softmax_equal_the_cpus") else { return };
    for (kernel, stride, padding) in
        [([2, 2], [2, 2], [0; 4]), ([3, 3], [2, 2], [1; 4]), ([3, 2], [1, 3], [1, 0, 0, 1])]
    {
        let (spec, x) = (PoolSpec { kernel, stride, padding }, [random(&[3, 4, 9, 7], 1)]);
        assert_same(&gpu, "max pool", &x, &|t| max_pool2d(&t[0], &spec));
        for count in [false, true] {
            assert_same(&gpu, "average pool", &x, &|t| avg_pool2d(&t[0], &spec, count));
        }
    }
    let x = [random(&[3, 4, 9, 7], 1)];
    assert_same(&gpu, "global average", &x, &|t| global_avg_pool(&t[0]));
    assert_same(&gpu, "log softmax", &[random(&[33, 10], 1)], &|t| log_softmax(&t[0]));
    let inputs = [random(&[33, 20], 1), random(&[10, 20], 2), random(&[10], 3)];
    assert_same(&gpu, "linear", &inputs, &|t| linear(&t[0], &t[1], Some(&t[2])));
}

#[test]
fn products_in_16_bits_are_near_those_in_32() {
    let Some(gpu) = gpu("products_in_16_bits_are_near_those_in_32") else { return };
    let inputs = [random(&[4, 6, 9, 7], 1), random(&[8, 6, 3, 3], 2), random(&[5, 54], 3)];
    // Half a unit in the last place for each operand, over sums of up to 252 products of random sign.
    for (precision, tolerance) in [(Precision::F16, 0.01), (Precision::Bf16, 0.08)] {
        let f = |precision: Precision| {
            move |t: &[Tensor]| {
                let spec = Conv2dSpec { padding: [1; 4], precision, ..Conv2dSpec::default() };
                let y = conv2d(&t[0], &t[1], None, &spec)?;
                let rows = t[0].flatten_from(1)?.narrow(1, 0, 54)?;
                let z = linear_in(&rows, &t[2], None, precision)?;
                Ok(Tensor::cat(&[&y.flatten_all()?, &z.flatten_all()?], 0)?)
            }
        };
        let (half, full) =
            (on(&gpu, &inputs, &f(precision)), on(&gpu, &inputs, &f(Precision::F32)));
        for (half, full) in half.iter().zip(&full) {
            let norm = |t: Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let share = (norm((half - full).unwrap()) / norm(full.clone())).sqrt();
            assert!(share < tolerance && share > 0.0, "{precision:?}: {share}");
        }
    }
}
