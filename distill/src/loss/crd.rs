//! Contrastive representation distillation (Tian, Krishnan & Isola 2020).

use candle_core::{Tensor, Var};

use super::adapter::{Adapter, uniform};
use super::features::{Bound, NodePair, Surroundings, bound};
use super::rows::{flat, unit};
use super::{DistillationLoss, LossInput};
use crate::nn::linear;
use crate::optim::Parameter;
use crate::random::Stream;
use crate::{Error, ErrorKind, Result};

/// Keeps a quotient finite where nothing is near, as the paper's code does.
const EPSILON: f64 = 1e-7;

/// Tells a sample's other representation from those of other samples by noise-contrastive estimation.
///
/// Student's and teacher's values are each mapped linearly to rows of length 1; both maps learn. A
/// memory keeps every training sample's rows. With `h(v, u) = e / (e + m / N)` for
/// `e = exp(v · u / temperature) / Z` the loss of a sample is `-ln h` of its own remembered row minus
/// `Σ ln(1 - h)` over `m` others', student against the teacher's memory and teacher against the
/// student's, mean over the batch. `Z` is `N` times the mean of the first batch's `exp`.
///
/// As in the paper the others are of other classes, where labels are known. The paper draws them
/// for each sample; here one draw serves the whole batch, so that the scores are one product of
/// matrices, and where there are no more than `negatives` samples all are taken.
pub struct Crd {
    nodes: NodePair,
    numbers: CrdNumbers,
    parts: Option<Parts>,
}

/// The constants of [`Crd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrdNumbers {
    /// Length of the rows.
    pub dimensions: usize,
    /// Rows of the memory that are drawn for a batch.
    pub negatives: usize,
    /// Divides the products of two rows.
    pub temperature: f64,
    /// Share of the old row when a new one is remembered.
    pub momentum: f64,
}

struct Parts {
    nodes: Bound,
    student: Side,
    teacher: Side,
    labels: Option<Vec<u32>>,
    seed: u64,
}

/// One of the two networks.
struct Side {
    embed: Adapter,
    /// `[N, dimensions]`: a row of each training sample.
    memory: Parameter,
    /// `Z` of what this side's rows are compared with; 0 before the first batch.
    scale: Parameter,
}

/// Which rows of the memories a batch is compared with.
struct Others {
    /// `[n]`: the samples of the batch.
    own: Tensor,
    /// `[k]`
    drawn: Tensor,
    /// `[n, k]`: 1 where a drawn row counts, else 0.
    counts: Tensor,
    /// `[n, 1]`: `m / N`.
    noise: Tensor,
}

impl Crd {
    /// Between the nodes of this name.
    pub fn new(nodes: NodePair, numbers: CrdNumbers) -> Self {
        Self { nodes, numbers, parts: None }
    }
}

impl DistillationLoss for Crd {
    fn name(&self) -> &'static str {
        "crd"
    }

    fn needs_features(&self) -> bool {
        true
    }

    fn bind(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let nodes = self.nodes.bind(around)?;
        let dimensions = self.numbers.dimensions;
        let side = |whose: &str, shape: &[usize]| -> Result<Side> {
            let device = around.device;
            let named = |role: &str| format!("crd.{whose}.{role}");
            let sizes = (shape.iter().product(), dimensions);
            let name = named("memory");
            // Rows of length about 1, as the paper's code draws them.
            let bound = (3.0 / dimensions as f32).sqrt();
            let var = uniform(&name, &[around.samples, dimensions], bound, around.seed, device)?;
            let scale = Var::from_vec(vec![0.0_f32], 1, device)?;
            Ok(Side {
                embed: Adapter::new(&named("embed"), sizes, around.seed, device)?,
                memory: Parameter { name, var },
                scale: Parameter { name: named("scale"), var: scale },
            })
        };
        self.parts = Some(Parts {
            student: side("student", &nodes.student.shape)?,
            teacher: side("teacher", &nodes.teacher.shape)?,
            nodes,
            labels: around.labels.map(<[u32]>::to_vec),
            seed: around.seed,
        });
        Ok(())
    }

    fn parameters(&self) -> Vec<Parameter> {
        let sides = self.parts.iter().flat_map(|parts| [&parts.student, &parts.teacher]);
        sides.flat_map(|side| side.embed.parameters()).collect()
    }

    fn state(&self) -> Vec<Parameter> {
        let sides = self.parts.iter().flat_map(|parts| [&parts.student, &parts.teacher]);
        let kept = sides.flat_map(|side| [side.memory.clone(), side.scale.clone()]);
        self.parameters().into_iter().chain(kept).collect()
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let parts = bound(self.parts.as_ref(), self.name())?;
        let (student, teacher) = parts.nodes.values(input)?;
        let row = |side: &Side, x: &Tensor| unit(&side.embed.forward(&flat(x)?)?);
        let (student, teacher) = (row(&parts.student, &student)?, row(&parts.teacher, &teacher)?);
        let others = self.others(parts, input)?;
        let loss =
            (self.contrast(&student, &parts.student, &parts.teacher.memory.var, &others)?
                + self.contrast(&teacher, &parts.teacher, &parts.student.memory.var, &others)?)?;
        self.remember(&parts.student.memory.var, &student, &others.own)?;
        self.remember(&parts.teacher.memory.var, &teacher, &others.own)?;
        Ok(loss)
    }
}

impl Crd {
    /// Draws what the batch is compared with; the draw depends on run, epoch and batch alone.
    fn others(&self, parts: &Parts, input: &LossInput<'_>) -> Result<Others> {
        let (indices, device) = (input.indices, input.student_logits.device());
        let samples = parts.student.memory.var.dim(0)?;
        if indices.is_empty() || indices.iter().any(|&i| i >= samples) {
            let message = format!("remembers {samples} samples, the batch has {indices:?}");
            return Err(Error::new(ErrorKind::Config, self.name(), message));
        }
        let drawn: Vec<u32> = if samples <= self.numbers.negatives {
            (0..samples as u32).collect()
        } else {
            let when = [input.moment.epoch as u64, indices[0] as u64];
            let mut stream = Stream::new(parts.seed, "crd", &when);
            (0..self.numbers.negatives).map(|_| stream.below(samples) as u32).collect()
        };
        let is_other = |own: usize, other: u32| {
            let class = |i: usize| parts.labels.as_ref().map(|labels| labels[i]);
            let (own_class, other_class) = (class(own), class(other as usize));
            other as usize != own && (own_class.is_none() || own_class != other_class)
        };
        let mut counts = Vec::with_capacity(indices.len() * drawn.len());
        let mut noise = Vec::with_capacity(indices.len());
        for &own in indices {
            let row = drawn.iter().map(|&other| f32::from(u8::from(is_other(own, other))));
            counts.extend(row);
            let found: f32 = counts[counts.len() - drawn.len()..].iter().sum();
            noise.push(found.max(1.0) / samples as f32);
        }
        let own: Vec<u32> = indices.iter().map(|&i| i as u32).collect();
        let (n, k) = (own.len(), drawn.len());
        Ok(Others {
            own: Tensor::from_vec(own, n, device)?,
            drawn: Tensor::from_vec(drawn, k, device)?,
            counts: Tensor::from_vec(counts, (n, k), device)?,
            noise: Tensor::from_vec(noise, (n, 1), device)?,
        })
    }

    /// The loss of the rows `v` of `side` against the other side's `memory`.
    fn contrast(&self, v: &Tensor, side: &Side, memory: &Var, others: &Others) -> Result<Tensor> {
        let memory = memory.as_detached_tensor();
        let Others { own, drawn, counts, noise } = others;
        let near = |products: Tensor| (products / self.numbers.temperature)?.exp();
        let own = near((v * memory.index_select(own, 0)?)?.sum_keepdim(1)?)?;
        let rest = near(linear(v, &memory.index_select(drawn, 0)?, None)?)?;
        let n = v.dim(0)?;
        if side.scale.var.to_vec1::<f32>()? == [0.0] {
            let sum = (own.sum_all()? + (&rest * counts)?.sum_all()?)?;
            let taken = (counts.sum_all()? + n as f64)?;
            let scale = (sum.div(&taken)? * memory.dim(0)? as f64)?;
            side.scale.var.set(&scale.detach().reshape(1)?)?;
        }
        let scale = side.scale.var.as_detached_tensor();
        let (own, rest) = (own.broadcast_div(&scale)?, rest.broadcast_div(&scale)?);
        let floor = (noise + EPSILON)?;
        let own = own.broadcast_div(&own.broadcast_add(&floor)?)?.log()?.sum_all()?;
        let rest = rest.broadcast_add(&floor)?.recip()?.broadcast_mul(noise)?.log()?;
        let rest = (rest * counts)?.sum_all()?;
        Ok(((own + rest)? / -(n as f64))?)
    }

    /// Moves the memory's rows of the batch towards `new`.
    fn remember(&self, memory: &Var, new: &Tensor, own: &Tensor) -> Result<()> {
        let old = memory.as_detached_tensor().index_select(own, 0)?;
        let share = self.numbers.momentum;
        let moved = unit(&((old * share)? + (new.detach() * (1.0 - share))?)?)?;
        let rows = own.unsqueeze(1)?.broadcast_as(moved.shape())?.contiguous()?;
        Ok(memory.as_detached_tensor().scatter_set(&rows, &moved.contiguous()?, 0)?)
    }
}
