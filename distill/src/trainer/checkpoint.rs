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
const VERSION: u32 = 3;

/// What a run's result depends on: a checkpoint fits only a run that has all of it in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunId {
    /// Fingerprint of the network with its initial weights.
    pub(super) network: String,
    /// Those of the networks that are trained together with it.
    pub(super) peers: Vec<String>,
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
    /// Batches of all epochs.
    pub(super) batches: u64,
    /// Samples of all finished epochs, and the seconds of learning from them.
    pub(super) samples: usize,
    pub(super) learning_seconds: f64,
    /// Seconds since the run began, over all its tries.
    pub(super) seconds: f64,
    /// Why the run is at its end, if it is.
    pub(super) stopped: Option<StopReason>,
}

/// What one network of a run brought so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Sums over the epoch that is under way.
    pub(super) sums: Sums,
    /// Where products are in f16.
    pub(super) scale: Option<LossScale>,
    /// Validation accuracies so far.
    pub(super) selection: Selection,
    /// The last finished epoch's.
    pub(super) last: EpochScore,
}

/// A state of a run.
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    /// Of the network that is trained, then of its peers.
    pub(super) networks: Vec<NetworkState>,
}

/// A state of one network of a run.
pub(super) struct NetworkState {
    pub(super) record: Record,
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
    networks: Vec<NetworkHeader>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkHeader {
    record: Record,
    optimizer_steps: u64,
    average_updates: u64,
}

impl NetworkState {
    fn header(&self) -> NetworkHeader {
        NetworkHeader {
            record: self.record.clone(),
            optimizer_steps: self.optimizer_steps,
            average_updates: self.average_updates,
        }
    }

    /// Its tensors by the names of its parts.
    fn parts(&self) -> [(&'static str, &Tensors); 5] {
        [
            ("network", &self.network),
            ("optimizer", &self.optimizer),
            ("objective", &self.objective),
            ("average", &self.average),
            ("best", &self.best),
        ]
    }

    fn part(&mut self, name: &str) -> Option<&mut Tensors> {
        Some(match name {
            "network" => &mut self.network,
            "optimizer" => &mut self.optimizer,
            "objective" => &mut self.objective,
            "average" => &mut self.average,
            "best" => &mut self.best,
            _ => return None,
        })
    }
}

impl From<NetworkHeader> for NetworkState {
    fn from(header: NetworkHeader) -> Self {
        let NetworkHeader { record, optimizer_steps, average_updates } = header;
        Self {
            record,
            optimizer_steps,
            average_updates,
            network: Tensors::new(),
            optimizer: Tensors::new(),
            objective: Tensors::new(),
            average: Tensors::new(),
            best: Tensors::new(),
        }
    }
}

impl Checkpoint {
    /// Replaces the file at `path`.
    pub(super) fn save(&self, path: &Path, run: &RunId) -> Result<()> {
        let header = Header {
            version: VERSION,
            run: run.clone(),
            progress: self.progress.clone(),
            networks: self.networks.iter().map(NetworkState::header).collect(),
        };
        let parts = self.networks.iter().enumerate().flat_map(|(i, network)| {
            network.parts().map(|(part, tensors)| (format!("{i}.{part}"), tensors))
        });
        let tensors = parts.flat_map(|(part, tensors)| {
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
        let Header { progress, networks, .. } = header;
        if networks.len() != 1 + run.peers.len() {
            return Err(damaged(format!("it has {} networks", networks.len())));
        }
        let mut networks: Vec<NetworkState> = networks.into_iter().map(Into::into).collect();
        for (name, view) in tensors.iter() {
            let mut words = name.splitn(3, '.');
            let mut word = || words.next().unwrap_or_default();
            let (index, part, own) = (word(), word(), word());
            let network = index.parse().ok().and_then(|i: usize| networks.get_mut(i));
            let Some(part) = network.and_then(|network| network.part(part)) else {
                return Err(damaged(format!("unknown tensor {name:?}")));
            };
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("tensor {name:?} is {:?}", view.dtype())));
            }
            let numbers = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
            let values = numbers.collect::<Vec<f32>>();
            part.insert(own.into(), Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
        }
        Ok(Some(Self { progress, networks }))
    }
}

fn differences(a: &RunId, b: &RunId) -> Vec<&'static str> {
    let parts = [
        ("the network", a.network == b.network),
        ("the peers", a.peers == b.peers),
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
