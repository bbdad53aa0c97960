//! One training step of a network by name.

use std::time::Instant;

use candle_core::{Device, Tensor};
use hipflask_distill::device;
use hipflask_distill::interpreter::{Mode, Network};
use hipflask_distill::loss::{LossInput, LossSpec, WeightedSum};
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::optim::{Optimizer, OptimizerSpec};
use hipflask_distill::random::Stream;

use crate::Result;

const CLASSES: usize = 10;

/// A network with its optimizer and one batch.
pub(crate) struct Step {
    network: Network,
    objective: WeightedSum,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
}

impl Step {
    /// The network that the driver calls `model`, with seeded weights, on `device`, and a batch of its
    /// own size unless `batch` says another.
    pub(crate) fn new(model: &str, device: &str, batch: Option<usize>) -> Result<Self> {
        let (name, usual, image) = match model {
            "mlp" => ("mlp", 128, [1, 28, 28]),
            "resnet8" => ("resnet8", 64, [3, 32, 32]),
            "dscnn" => ("ds-cnn", 64, [1, 28, 28]),
            "lenet" => ("lenet", 64, [1, 28, 28]),
            "vit" => ("vit-tiny", 64, [1, 28, 28]),
            "resnet20" => ("resnet20", 128, [3, 32, 32]),
            "wrn16-2" => ("wrn16-2", 128, [3, 32, 32]),
            "mobilenet-v2" => ("mobilenet-v2", 128, [3, 96, 96]),
            _ => {
                let known = "mlp, resnet8, dscnn, lenet, vit, resnet20, wrn16-2, mobilenet-v2";
                return Err(format!("{model:?}: models are {known}").into());
            }
        };
        let batch = batch.unwrap_or(usual);
        let device = device::choose(device)?;
        let spec = NetworkSpec { network: Some(name.into()), ..NetworkSpec::default() };
        let network = Network::new(&spec.build(&image, CLASSES, 0)?, &device)?;
        let adam = OptimizerSpec::Adam {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            decay_all: true,
        };
        let cross_entropy = LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 };
        Ok(Self {
            objective: WeightedSum::new(&[cross_entropy])?,
            optimizer: Optimizer::new(&adam, network.parameters().to_vec())?,
            images: images(batch, image, &device)?,
            labels: labels(batch, &device)?,
            network,
        })
    }

    /// Images in a batch.
    pub(crate) fn batch(&self) -> usize {
        self.labels.elem_count()
    }

    /// Number of trained values.
    pub(crate) fn parameters(&self) -> usize {
        self.network.parameters().iter().map(|parameter| parameter.var.elem_count()).sum()
    }

    /// Forward, loss, backward, update; waits until the device has done it.
    pub(crate) fn take(&mut self) -> Result<()> {
        let logits = self.network.forward(&self.images, Mode::Train)?;
        let value = self
            .objective
            .forward(&LossInput { labels: Some(&self.labels), ..LossInput::new(&logits) })?;
        let gradients = value.total.backward()?;
        self.optimizer.step(&gradients, 1.0)?;
        self.network.device().synchronize()?;
        Ok(())
    }

    /// Nanoseconds of each of `count` steps, with spaces between them.
    pub(crate) fn times(&mut self, count: usize) -> Result<String> {
        let mut times = Vec::with_capacity(count.min(1 << 20));
        for _ in 0..count {
            let start = Instant::now();
            // As the trainer does.
            rayon::scope(|_| self.take().map_err(|error| error.to_string()))?;
            times.push(start.elapsed().as_nanos().to_string());
        }
        Ok(times.join(" "))
    }
}

/// Pixels with the mean and the variance of `torch.randn`.
fn images(batch: usize, [c, h, w]: [usize; 3], device: &Device) -> Result<Tensor> {
    let mut stream = Stream::new(0, "images", &[]);
    let pixel = |_| 12_f32.sqrt() * (stream.unit() - 0.5);
    let pixels: Vec<f32> = (0..batch * c * h * w).map(pixel).collect();
    Ok(Tensor::from_vec(pixels, (batch, c, h, w), device)?)
}

fn labels(batch: usize, device: &Device) -> Result<Tensor> {
    let mut stream = Stream::new(0, "labels", &[]);
    let labels: Vec<u32> = (0..batch).map(|_| stream.below(CLASSES) as u32).collect();
    Ok(Tensor::from_vec(labels, batch, device)?)
}
