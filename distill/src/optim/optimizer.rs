//! The optimizer: parameters, their state between steps, and the step.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use super::OptimizerSpec;
use super::rule::{Fused, Rule};
use crate::nn::buffer::on_host;
use crate::{Error, ErrorKind, Result};

/// A trained variable with the name of its tensor.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name of the tensor in the graph, e.g. `conv1.weight`.
    pub name: String,
    /// The variable.
    pub var: Var,
}

/// Moves parameters along their gradients.
pub struct Optimizer {
    spec: OptimizerSpec,
    parameters: Vec<Parameter>,
    state: Vec<State>,
    steps: u64,
}

/// What is kept of one parameter between steps, in the order of [`Rule::slots`].
enum State {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

impl Optimizer {
    /// An optimizer before its first step. Fails when a constant of `spec` is out of range.
    pub fn new(spec: &OptimizerSpec, parameters: Vec<Parameter>) -> Result<Self> {
        spec.check()?;
        let slots = Rule::slots(spec).len();
        let state = parameters
            .iter()
            .map(|Parameter { var, .. }| {
                Ok(if on_host(var) {
                    State::Host(vec![vec![0.0; var.elem_count()]; slots])
                } else {
                    State::Device((0..slots).map(|_| var.zeros_like()).collect::<Result<_, _>>()?)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { spec: *spec, parameters, state, steps: 0 })
    }

    /// The trained variables, in the order given.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step with the learning rate times `factor` (see
    /// [`ScheduleSpec`](super::ScheduleSpec)); variables without a gradient stay.
    pub fn step(&mut self, gradients: &GradStore, factor: f64) -> Result<()> {
        self.steps += 1;
        for (Parameter { var, .. }, state) in self.parameters.iter().zip(&mut self.state) {
            let Some(gradient) = gradients.get(var) else { continue };
            // Biases and batch norm's parameters are the vectors; a learnt scale is a number, and is not
            // drawn to any.
            let decays = var.rank() > usize::from(!self.spec.decay_all());
            let rule = Rule::new(&self.spec, self.steps, factor, decays);
            match state {
                State::Host(state) => {
                    let fused = Fused { rule, state: RefCell::new(state) };
                    var.inplace_op2(&gradient.contiguous()?, &fused)?;
                }
                State::Device(state) => *state = rule.composed(var, gradient, state)?,
            }
        }
        Ok(())
    }

    /// The state by name, `{parameter}.{slot}`, to be saved beside [`steps`](Self::steps).
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut named = Vec::new();
        for (Parameter { name, var }, state) in self.parameters.iter().zip(&self.state) {
            for (i, slot) in Rule::slots(&self.spec).iter().enumerate() {
                let tensor = match state {
                    State::Host(state) => Tensor::from_slice(&state[i], var.shape(), var.device())?,
                    State::Device(state) => state[i].clone(),
                };
                named.push((format!("{name}.{slot}"), tensor));
            }
        }
        Ok(named)
    }

    /// Puts a saved state back, so that the next step gives the same bits as without the break.
    ///
    /// Fails, changing nothing, when a tensor is missing or of another shape.
    pub fn load_state(&mut self, steps: u64, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.state.len());
        for (Parameter { name, var }, state) in self.parameters.iter().zip(&self.state) {
            let mut slots = Vec::new();
            for slot in Rule::slots(&self.spec) {
                let name = format!("{name}.{slot}");
                let fail = |message: String| {
                    Error::new(ErrorKind::Checkpoint, format!("optimizer state {name:?}"), message)
                };
                let tensor = tensors.get(&name).ok_or_else(|| fail("is missing".into()))?;
                if tensor.dims() != var.dims() {
                    let message = format!("has shape {:?}, not {:?}", tensor.dims(), var.dims());
                    return Err(fail(message));
                }
                slots.push(tensor);
            }
            loaded.push(match state {
                State::Host(_) => {
                    let values =
                        |t: &&Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
                    State::Host(slots.iter().map(values).collect::<Result<_, _>>()?)
                }
                State::Device(_) => {
                    let moved = |t: &&Tensor| t.to_dtype(var.dtype())?.to_device(var.device());
                    State::Device(slots.iter().map(moved).collect::<Result<_, _>>()?)
                }
            });
        }
        self.state = loaded;
        self.steps = steps;
        Ok(())
    }
}
