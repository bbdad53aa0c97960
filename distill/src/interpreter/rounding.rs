//! A network that computes as its int8 form will, in f32: for quantization-aware training.

use candle_core::{Tensor, Var};
use hipflask_quantize::{Calibration, Grid, Sites, to_int8};
use hipflask_runtime::graph::{Graph, ValueId};
use hipflask_runtime::quant::QuantParams;

use super::Network;
use crate::nn::{fake_quantize, fake_quantize_weights};
use crate::optim::Parameter;
use crate::{Error, ErrorKind, Result};

/// Where a network's values are rounded, and to what.
pub(super) struct Rounding {
    calibration: Calibration,
    sites: Sites,
    /// Logarithms of the scales of the grids; `None` where nothing is to be learnt.
    scales: Vec<Option<Var>>,
}

impl Network {
    /// The network with all roundings of its int8 form and, as further parameters, the scales of its
    /// values.
    ///
    /// Its graph is one from [`prepare`](hipflask_quantize::prepare), back in PyTorch's layout, and
    /// `calibration` is that graph's. [`to_graph`](Self::to_graph) then gives the int8 graph.
    pub fn rounded(mut self, calibration: &Calibration) -> Result<Self> {
        let sites = Sites::new(&self.graph.clone().into_nhwc()?, calibration)?;
        let mut scales = Vec::with_capacity(sites.grids.len());
        for Grid { params, range } in &sites.grids {
            let Some(value) = range.map(|id| self.graph.value(id)) else {
                scales.push(None);
                continue;
            };
            let name = format!("{}.log_scale", value.name);
            let var = Var::new(params.scale.ln(), &self.device)?;
            if self.tensors.insert(name.clone(), var.clone()).is_some() {
                let message = "is the name of a tensor and that of a learnt scale";
                return Err(Error::new(ErrorKind::Config, name, message));
            }
            self.parameters.push(Parameter { name, var: var.clone() });
            scales.push(Some(var));
        }
        // A ReLU comes after the rounding of what it reads.
        self.takes_relu.fill(false);
        self.rounding = Some(Rounding { calibration: calibration.clone(), sites, scales });
        Ok(self)
    }

    /// Whether it computes as its int8 form will.
    pub fn is_rounded(&self) -> bool {
        self.rounding.is_some()
    }
}

impl Rounding {
    /// What node `index` gets of `value`, its `id`.
    pub(super) fn read(&self, index: usize, id: ValueId, value: Tensor) -> Result<Tensor> {
        match self.sites.read.get(&id) {
            Some(&grid) if self.sites.int8[index] => self.round(grid, &value),
            _ => Ok(value),
        }
    }

    /// What is left of `value`, computed as `id`.
    pub(super) fn written(&self, id: ValueId, value: Tensor) -> Result<Tensor> {
        match self.sites.written.get(&id) {
            Some(&grid) => self.round(grid, &value),
            None => Ok(value),
        }
    }

    /// What is left of the weights of node `index`.
    pub(super) fn weight(&self, index: usize, weight: &Tensor) -> Result<Tensor> {
        if self.sites.int8[index] { fake_quantize_weights(weight) } else { Ok(weight.clone()) }
    }

    fn round(&self, grid: usize, value: &Tensor) -> Result<Tensor> {
        let QuantParams { scale, zero_point } = self.sites.grids[grid].params;
        if let Some(scale) = &self.scales[grid] {
            return fake_quantize(value, scale, zero_point);
        }
        fake_quantize(value, &Tensor::new(scale.ln(), value.device())?, zero_point)
    }

    /// `graph`, the float one with the present weights, in int8 on the present grids.
    pub(super) fn to_int8(&self, graph: Graph) -> Result<Graph> {
        let mut grids = self.sites.grids.clone();
        for (grid, scale) in grids.iter_mut().zip(&self.scales) {
            if let Some(scale) = scale {
                grid.params.scale = scale.to_scalar::<f32>()?.exp();
            }
        }
        let calibration = self.calibration.clone().with_grids(&grids);
        Ok(to_int8(&graph.into_nhwc()?, &calibration)?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use candle_core::Device;
    use hipflask_quantize::{Calibrator, Method, prepare};
    use hipflask_runtime::{Model, Options, Session};

    use super::super::Mode;
    use super::super::tests::network;
    use super::*;
    use crate::nn::gradcheck::{random, values};

    const SAMPLES: usize = 6;

    /// The int8 form of a network of every operation, the network that computes like it, and samples.
    fn both() -> (Graph, Network, Tensor) {
        let prepared = prepare(&network()).unwrap();
        let x = random(&[SAMPLES, 2, 9, 7], 20);
        let mut calibrator = Calibrator::new(&prepared, Method::MinMax).unwrap();
        let pixels = x.permute((0, 2, 3, 1)).unwrap();
        (0..SAMPLES).for_each(|i| calibrator.observe(&values(&pixels.get(i).unwrap())).unwrap());
        let calibration = calibrator.finish().unwrap();
        let int8 = to_int8(&prepared, &calibration).unwrap();
        let float = Network::new(&prepared.into_nchw().unwrap(), &Device::Cpu).unwrap();
        (int8, float.rounded(&calibration).unwrap(), x)
    }

    #[test]
    fn a_rounded_network_answers_as_its_integers_do() {
        let (int8, network, x) = both();
        let logits = network.forward(&x, Mode::Evaluate).unwrap();
        let plain = Network::new(&super::super::tests::network(), &Device::Cpu).unwrap();
        let plain = values(&plain.forward(&x, Mode::Evaluate).unwrap());
        let mut session =
            Session::new(&Model::from_graph(int8).unwrap(), &Options::default()).unwrap();
        let pixels = x.permute((0, 2, 3, 1)).unwrap();
        let integers = (0..SAMPLES).flat_map(|sample| {
            session.predict(&values(&pixels.get(sample).unwrap())).unwrap().to_vec()
        });
        let integers: Vec<f32> = integers.collect();
        let squares = |other: &[f32]| -> f32 {
            integers.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        // A value that lies on an edge may fall to either side, which the next layers spread: nearly
        // all that int8 does is imitated.
        let (rounded, float) = (squares(&values(&logits)), squares(&plain));
        assert!(rounded < 0.02 * float, "squared error {rounded}, of the float network {float}");
    }

    #[test]
    fn the_graph_is_the_conversions() {
        let (int8, network, _) = both();
        let graph = network.to_graph().unwrap();
        assert_eq!(graph.nodes, int8.nodes);
        for (name, tensor) in int8.tensors.iter().filter(|(name, _)| name.ends_with("weight")) {
            assert_eq!(graph.tensors[name].i8s().unwrap(), tensor.i8s().unwrap(), "{name}");
        }
        for (value, other) in graph.values.iter().zip(&int8.values) {
            let (Some(quant), Some(other)) = (value.quant, other.quant) else { continue };
            assert_eq!(quant.zero_point, other.zero_point, "{}", value.name);
            assert!((quant.scale / other.scale - 1.0).abs() < 1e-5, "{}", value.name);
        }
    }

    #[test]
    fn every_weight_and_every_scale_gets_a_gradient_through_the_roundings() {
        let (_, network, x) = both();
        let names: Vec<&str> = network.parameters().iter().map(|p| p.name.as_str()).collect();
        assert!(names.contains(&"conv3.weight") && names.contains(&"conv3.log_scale"), "{names:?}");
        let loss = network.forward(&x, Mode::Train).unwrap().sqr().unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        for Parameter { name, var } in network.parameters() {
            let gradient = values(gradients.get(var).unwrap());
            assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        }
    }
}
