//! Names, shapes and arithmetic against torchvision: the logits are those that
//! `tests/pytorch/networks.py` prints.

use candle_core::{Device, Tensor};
use hipflask_runtime::Tensor as Weights;

use super::named;
use crate::interpreter::{Mode, Network};

/// `scale · sin(start + 1.7 k)` for k = 0, 1, …
fn wave(count: usize, start: f64, scale: f64) -> Vec<f32> {
    (0..count).map(|k| (scale * (start + 1.7 * k as f64).sin()) as f32).collect()
}

#[test]
fn networks_of_torchvision_give_its_logits() {
    for (name, expected) in [
        ("mobilenet-v2", [-3.03389, 3.29507, 0.485_666, -3.79257]),
        ("mobilenet-v3-small", [-9.54902, -10.4014, -9.37275, -6.33434]),
        ("shufflenet-v2", [-37.9668, -72.1957, -96.4748, -109.332]),
    ] {
        let mut graph = named(name).build(&[3, 96, 96], 4, 1).unwrap();
        for (i, (name, tensor)) in graph.tensors.iter_mut().enumerate() {
            let shape = tensor.shape().clone();
            let around_one =
                name.ends_with("running_var") || (name.ends_with("weight") && shape.len() == 1);
            let fan_in = shape[1..].iter().product::<usize>();
            let scale = if shape.len() > 1 { (4.0 / fan_in as f64).sqrt() } else { 0.5 };
            let mut values = wave(shape.elements(), i as f64, scale);
            if around_one {
                for v in &mut values {
                    *v += 1.0;
                }
            }
            *tensor = Weights::from_f32(shape, &values);
        }
        let network = Network::new(&graph, &Device::Cpu).unwrap();
        let image = wave(3 * 96 * 96, 0.5, 1.0);
        let image = Tensor::from_vec(image, (1, 3, 96, 96), &Device::Cpu).unwrap();
        let logits = network.forward(&image, Mode::Evaluate).unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (got, expected) in logits.into_iter().zip(expected) {
            // f32 through some fifty layers against f64.
            assert!(
                (got - expected).abs() < 2e-3 * (1.0 + expected.abs()),
                "{name}: {got} {expected}"
            );
        }
    }
}
