//! Golden samples: inputs with the exact answers, so that a board can prove itself.
//!
//! A safetensors file beside the model. For an int8 model the outputs and a digest of every
//! value must be the same bits; for a float model the outputs must agree to a stated tolerance.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::format::{check_version, read_tensors, write_tensors};
use crate::graph::{Graph, Op};
use crate::session::{Session, View};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Model, Result};

/// Largest difference of a float model's outputs, as a share of the largest output.
pub const FLOAT_TOLERANCE: f32 = 1e-4;

/// Recorded samples of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// One input a sample, `[h, w, c]`.
    pub inputs: Vec<Vec<f32>>,
    /// One output a sample.
    pub outputs: Vec<Vec<f32>>,
    /// The teacher's logits, one a sample; empty when unknown.
    pub teacher: Vec<Vec<f32>>,
    /// Classes; empty when unknown.
    pub labels: Vec<i32>,
    header: Header,
}

/// Version written where the model's file is known; files up to this version are read.
const VERSION: u32 = 2;
/// Version without it.
const WITHOUT_FILE: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    /// Fingerprint of the model's weights.
    model: String,
    /// Checksum of the model's file, from version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Whether every bit must be the same.
    exact: bool,
    /// Name and digest, over all samples, of each value that was computed, in execution order.
    digests: Vec<(String, String)>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Samples run.
    pub samples: usize,
    /// Whether the model promises bits (int8) or only a tolerance (float).
    pub exact: bool,
    /// Samples whose output was the recorded one (same bits, or within the tolerance).
    pub equal: usize,
    /// Largest difference of an output from the recorded one.
    pub largest_difference: f32,
    /// First value whose digest differs; only for exact models. Values that only one of both
    /// versions of hipflask computes by themselves are left out.
    pub first_divergence: Option<String>,
    /// Share of samples with the teacher's class, if it was recorded.
    pub agreement: Option<f64>,
    /// Share of samples with the right class, if labels were recorded.
    pub accuracy: Option<f64>,
}

impl Verdict {
    /// Whether every sample and every digest came out as recorded.
    pub fn passed(&self) -> bool {
        self.equal == self.samples && self.first_divergence.is_none()
    }
}

impl Golden {
    /// Runs `inputs` through `model` and records what comes out.
    pub fn record(
        model: &Model,
        session: &mut Session,
        inputs: Vec<Vec<f32>>,
        teacher: Vec<Vec<f32>>,
        labels: Vec<i32>,
    ) -> Result<Self> {
        let mut digests = Digests::new(model.graph());
        let mut outputs = Vec::with_capacity(inputs.len());
        for input in &inputs {
            outputs.push(digests.run(session, input)?);
        }
        let header = Header {
            version: WITHOUT_FILE,
            file: None,
            model: fingerprint(model.graph()),
            exact: is_exact(model.graph()),
            digests: digests.finish(),
        };
        Ok(Self { inputs, outputs, teacher, labels, header })
    }

    /// Name and digest over all samples of each value that was computed, in execution order; the
    /// digest as 16 hexadecimal digits.
    pub fn digests(&self) -> &[(String, String)] {
        &self.header.digests
    }

    /// Whether they were recorded with this model.
    pub fn is_of(&self, model: &Model) -> bool {
        self.header.model == fingerprint(model.graph())
    }

    /// The same samples, which also know every byte of the model's file: `bytes` are all of them.
    #[must_use]
    pub fn of_file(mut self, bytes: &[u8]) -> Self {
        self.header.version = VERSION;
        self.header.file = Some(checksum(bytes));
        self
    }

    /// Fails with [`ErrorKind::Mismatch`] where `bytes` are not those of the model's file that was
    /// recorded: a wrong byte anywhere is found, also one that changes no answer, as in a class name.
    /// Samples that know no file agree with any.
    pub fn check_file(&self, bytes: &[u8]) -> Result<()> {
        let Some(recorded) = &self.header.file else { return Ok(()) };
        let found = checksum(bytes);
        if *recorded == found {
            return Ok(());
        }
        let what = format!(
            "has another checksum than the file that the golden samples were recorded with ({found}, not \
             {recorded}): it was damaged or replaced: copy both files of the bundle again"
        );
        Err(Error::new(ErrorKind::Mismatch, "model file", what))
    }

    /// Runs the samples again and compares.
    pub fn verify(&self, model: &Model, session: &mut Session) -> Result<Verdict> {
        if !self.is_of(model) {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "golden samples",
                "were recorded with another model: use the golden file of the same bundle",
            ));
        }
        let mut digests = Digests::new(model.graph());
        let (mut equal, mut agree, mut right) = (0, 0, 0);
        let mut largest_difference = 0.0_f32;
        for (i, input) in self.inputs.iter().enumerate() {
            let output = digests.run(session, input)?;
            let wanted = &self.outputs[i];
            let difference = largest(output.iter().zip(wanted).map(|(a, b)| (a - b).abs()));
            let same_bits = output.len() == wanted.len()
                && output.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits());
            let scale = largest(wanted.iter().map(|v| v.abs()));
            let close = difference <= FLOAT_TOLERANCE * scale;
            equal += usize::from(same_bits || (!self.header.exact && close));
            largest_difference = largest([largest_difference, difference].into_iter());
            let class = argmax(&output);
            agree += usize::from(self.teacher.get(i).is_some_and(|t| argmax(t) == class));
            right += usize::from(self.labels.get(i).is_some_and(|&l| l == class as i32));
        }
        let found = digests.finish();
        let recorded: BTreeMap<_, _> = self.header.digests.iter().map(|(n, d)| (n, d)).collect();
        let diverges =
            found.iter().find(|(name, digest)| recorded.get(name).is_some_and(|&d| d != digest));
        let share = |n: usize| n as f64 / self.inputs.len().max(1) as f64;
        Ok(Verdict {
            samples: self.inputs.len(),
            exact: self.header.exact,
            equal,
            largest_difference,
            first_divergence: diverges.filter(|_| self.header.exact).map(|(name, _)| name.clone()),
            agreement: (!self.teacher.is_empty()).then(|| share(agree)),
            accuracy: (!self.labels.is_empty()).then(|| share(right)),
        })
    }

    /// The bytes of the golden file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = vec![
            ("inputs".to_string(), stack(&self.inputs)),
            ("outputs".to_string(), stack(&self.outputs)),
        ];
        if !self.teacher.is_empty() {
            tensors.push(("teacher".to_string(), stack(&self.teacher)));
        }
        if !self.labels.is_empty() {
            tensors
                .push(("labels".to_string(), Tensor::from_i32([self.labels.len()], &self.labels)));
        }
        let header = serde_json::to_string(&self.header).expect("plain data always serializes");
        write_tensors(&header, &tensors)
    }

    /// Reads a golden file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, mut tensors) =
            read_tensors(bytes, |text| check_version(text, "golden samples", VERSION))?;
        let header: Header = serde_json::from_str(&header).map_err(|e| {
            Error::new(
                ErrorKind::Format,
                "metadata \"hipflask\"",
                format!("no golden samples: {e}"),
            )
        })?;
        let mut rows = |name: &str| -> Result<Option<Vec<Vec<f32>>>> {
            tensors.remove(name).map(|t| unstack(name, &t)).transpose()
        };
        let missing =
            |name| Error::new(ErrorKind::Format, format!("tensor {name:?}"), "is missing");
        let inputs = rows("inputs")?.ok_or_else(|| missing("inputs"))?;
        let outputs = rows("outputs")?.ok_or_else(|| missing("outputs"))?;
        let teacher = rows("teacher")?.unwrap_or_default();
        let labels = match tensors.remove("labels") {
            Some(t) => t.i32s().map_err(|e| e.in_file("tensor \"labels\""))?.into_owned(),
            None => Vec::new(),
        };
        let n = inputs.len();
        let fits = |len: usize| len == 0 || len == n;
        if n == 0 || outputs.len() != n || !fits(teacher.len()) || !fits(labels.len()) {
            let what = "inputs, outputs, teacher and labels differ in their number of samples";
            return Err(Error::new(ErrorKind::Format, "golden samples", what));
        }
        Ok(Self { inputs, outputs, teacher, labels, header })
    }
}

/// Whether all convolutions and linear layers are int8, so that the network's bits are promised:
/// the rest is computed in one order on every instruction set.
pub fn is_exact(graph: &Graph) -> bool {
    graph.nodes.iter().all(|node| {
        let x = graph.value(node.inputs[0]).dtype;
        x == DType::I8 || !matches!(node.op, Op::Conv2d { .. } | Op::Linear)
    })
}

/// FNV-1a over the bytes of a file. A single wrong byte always changes it: each step is one to one in
/// what was before.
fn checksum(bytes: &[u8]) -> String {
    let mut hash = FNV_OFFSET;
    fnv1a(&mut hash, bytes);
    format!("{hash:016x}")
}

/// FNV-1a over the weights in graph order: finds accidents, not attackers.
///
/// Nodes without weights are left out: how a model is simplified when it is opened may change.
fn fingerprint(graph: &Graph) -> String {
    let mut hash = FNV_OFFSET;
    for name in graph.tensor_order() {
        fnv1a(&mut hash, name.as_bytes());
        fnv1a(&mut hash, graph.tensors[&name].bytes());
    }
    format!("{hash:016x}")
}

/// Digest of each value over all samples, in execution order.
struct Digests {
    names: Vec<String>,
    order: Vec<usize>,
    hashes: BTreeMap<usize, u64>,
}

impl Digests {
    fn new(graph: &Graph) -> Self {
        let order = graph.inputs.iter().copied().chain(graph.nodes.iter().map(|n| n.output));
        Self {
            names: graph.values.iter().map(|v| v.name.clone()).collect(),
            order: order.map(|id| id.0).collect(),
            hashes: BTreeMap::new(),
        }
    }

    fn run(&mut self, session: &mut Session, input: &[f32]) -> Result<Vec<f32>> {
        let hashes = &mut self.hashes;
        session.run_observed(&[View::F32(input)], &mut |id, view| {
            fnv1a(hashes.entry(id.0).or_insert(FNV_OFFSET), view.bytes());
        })?;
        Ok(match session.output(0) {
            View::F32(values) => values.to_vec(),
            View::I8(values) => values.iter().map(|&v| f32::from(v)).collect(),
        })
    }

    fn finish(self) -> Vec<(String, String)> {
        let hashes = self.order.iter().filter_map(|id| Some((id, self.hashes.get(id)?)));
        hashes.map(|(&id, hash)| (self.names[id].clone(), format!("{hash:016x}"))).collect()
    }
}

pub(crate) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
pub(crate) fn fnv1a(hash: &mut u64, bytes: &[u8]) {
    for &byte in bytes {
        *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |m, v| if v > m || v.is_nan() { v } else { m })
}

/// Index of the largest value; the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

fn stack(rows: &[Vec<f32>]) -> Tensor {
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_f32([rows.len(), width], &rows.concat())
}

fn unstack(name: &str, tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    let at = format!("tensor {name:?}");
    let values = tensor.f32s().map_err(|e| e.in_file(&at))?;
    match tensor.shape().dims::<2>() {
        Some([_, width]) if width > 0 => Ok(values.chunks(width).map(<[f32]>::to_vec).collect()),
        _ => Err(Error::new(ErrorKind::Format, at, "needs a shape of [samples, values]")),
    }
}
