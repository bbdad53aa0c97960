//! Checkpoints: everything that a training needs to go on as if it had never stopped.
//!
//! One safetensors file, replaced by rename, with the state as JSON in its metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use hipflask_runtime::file::write_atomically;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::epoch::Sums;
use super::summary::{EpochScore, Selection, StopReason};
use crate::optim::LossScale;
use crate::{Error, ErrorKind, Result};

const KEY: &str = "hipflask-checkpoint";
const VERSION: u32 = 2;

/// What a run's result depends on: a checkpoint fits only a run that has all of it in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunId {
    /// Fingerprint of the network with its initial weights.
    pub(super) network: String,
    /// Fingerprint of the samples and of what happens to them.
    pub(super) data: String,
    /// Fingerprint of the teacher, if there is one.
    pub(super) teacher: Option<String>,
    /// The training options, as JSON.
    pub(super) options: String,
    pub(super) seed: u64,
    /// Kind of device: sums are not the same bits on another.
    pub(super) device: String,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Finished epochs.
    pub(super) epochs: usize,
    /// Finished batches of the epoch that is under way.
    pub(super) steps: usize,
    /// Sums over that epoch so far.
    pub(super) sums: Sums,
    /// Batches of all epochs.
    pub(super) batches: u64,
    /// Samples of all finished epochs, and the seconds of learning from them.
    pub(super) samples: usize,
    pub(super) learning_seconds: f64,
    /// Seconds since the run began, over all its tries.
    pub(super) seconds: f64,
    /// Where products are in f16.
    #[serde(default)]
    pub(super) scale: Option<LossScale>,
    /// Validation accuracies so far.
    pub(super) selection: Selection,
    /// The last finished epoch's.
    pub(super) last: EpochScore,
    /// Why the run is at its end, if it is.
    pub(super) stopped: Option<StopReason>,
}

/// A state of a run.
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    /// Steps that the optimizer has taken.
    pub(super) optimizer_steps: u64,
    /// Updates of the moving average.
    pub(super) average_updates: u64,
    /// Weights and running statistics.
    pub(super) network: Tensors,
    pub(super) optimizer: Tensors,
    /// What the objective keeps: its adapters and what it remembers.
    pub(super) objective: Tensors,
    /// The moving average of `network`, where there is one.
    pub(super) average: Tensors,
    /// The best epoch's network, where there is one.
    pub(super) best: Tensors,
}

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    run: RunId,
    progress: Progress,
    optimizer_steps: u64,
    average_updates: u64,
}

impl Checkpoint {
    /// Replaces the file at `path`.
    pub(super) fn save(&self, path: &Path, run: &RunId) -> Result<()> {
        let header = Header {
            version: VERSION,
            run: run.clone(),
            progress: self.progress.clone(),
            optimizer_steps: self.optimizer_steps,
            average_updates: self.average_updates,
        };
        let parts = [
            ("network", &self.network),
            ("optimizer", &self.optimizer),
            ("objective", &self.objective),
            ("average", &self.average),
            ("best", &self.best),
        ];
        let tensors = parts.into_iter().flat_map(|(part, tensors)| {
            tensors.iter().map(move |(name, tensor)| (format!("{part}.{name}"), tensor))
        });
        let views = tensors.map(|(name, tensor)| Ok((name, F32View::new(tensor)?)));
        let views = views.collect::<Result<Vec<_>>>()?;
        let fail = |what: String| broken(path, format!("cannot be written: {what}"));
        let text = serde_json::to_string(&header).map_err(|e| fail(e.to_string()))?;
        let metadata = HashMap::from([(KEY.to_string(), text)]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|e| fail(e.to_string()))?;
        Ok(write_atomically(path, &bytes)?)
    }

    /// Reads the file at `path`, if there is one; fails unless it belongs to `run`.
    pub(super) fn load(path: &Path, run: &RunId) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(path, format!("cannot be read: {error}"))),
        };
        let damaged = |what: String| {
            broken(
                path,
                format!("is no checkpoint of hipflask ({what}): start again without --resume"),
            )
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or_else(|| damaged("it has no state".into()))?;
        let header: Header = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        if header.version != VERSION {
            return Err(damaged(format!("it has version {}", header.version)));
        }
        let differences = differences(&header.run, run);
        if !differences.is_empty() {
            let message = format!(
                "belongs to another run: it differs in {}; start again without --resume, or name \
                 another folder with --out",
                differences.join(", ")
            );
            return Err(broken(path, message));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let Header { progress, optimizer_steps, average_updates, .. } = header;
        let mut checkpoint = Self {
            progress,
            optimizer_steps,
            average_updates,
            network: Tensors::new(),
            optimizer: Tensors::new(),
            objective: Tensors::new(),
            average: Tensors::new(),
            best: Tensors::new(),
        };
        for (name, view) in tensors.iter() {
            let (part, own) = name.split_once('.').unwrap_or_default();
            let part = match part {
                "network" => &mut checkpoint.network,
                "optimizer" => &mut checkpoint.optimizer,
                "objective" => &mut checkpoint.objective,
                "average" => &mut checkpoint.average,
                "best" => &mut checkpoint.best,
                _ => return Err(damaged(format!("unknown tensor {name:?}"))),
            };
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("tensor {name:?} is {:?}", view.dtype())));
            }
            let numbers = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
            let values = numbers.collect::<Vec<f32>>();
            part.insert(own.into(), Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
        }
        Ok(Some(checkpoint))
    }
}

fn differences(a: &RunId, b: &RunId) -> Vec<&'static str> {
    let parts = [
        ("the network", a.network == b.network),
        ("the data", a.data == b.data),
        ("the teacher", a.teacher == b.teacher),
        ("the training options", a.options == b.options),
        ("the seed", a.seed == b.seed),
        ("the device", a.device == b.device),
    ];
    parts.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect()
}

fn broken(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Checkpoint, path.display().to_string(), message)
}

/// A tensor's values in main memory, as the safetensors crate writes them.
struct F32View {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl F32View {
    fn new(tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(Self { shape: tensor.dims().to_vec(), bytes })
    }
}

impl View for F32View {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
