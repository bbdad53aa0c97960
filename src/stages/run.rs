//! One run of a recipe: its data, its device, its folder, and the training in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use hipflask_distill::data::{DataSet, DataSpec, Places};
use hipflask_distill::device::{self, Device};
use hipflask_distill::teacher::Teacher;
use hipflask_distill::trainer::{Files, Peer, TrainSpec, Trained, Training, train_with_peers};
use hipflask_quantize::Calibration;
use hipflask_runtime::graph::Graph;
use hipflask_runtime::kernels::Isa;

use super::folder::RunFolder;
use super::monitor::TrainingMonitor;
use crate::args::RunArgs;
use crate::progress::Progress;
use crate::recipe::Recipe;

/// What every stage of a run needs.
#[derive(Clone)]
pub struct Run {
    /// The recipe, after `--set` and `--seed`.
    pub recipe: Recipe,
    /// Where the files that it names are looked for.
    pub places: Places,
    /// Where networks are trained.
    pub device: Device,
    /// Where results go.
    pub folder: RunFolder,
    /// Whether to go on from checkpoints.
    pub resume: bool,
    /// Whether TensorBoard's event files are written.
    pub tensorboard: bool,
    /// Progress on stderr.
    pub progress: Progress,
}

/// A network that is trained together with another.
pub struct Companion {
    /// Its name in messages, files and reports, as `peer-1`.
    pub role: String,
    /// With initial weights.
    pub graph: Graph,
}

impl Run {
    /// The run that the flags ask for; `recipe` is the built-in one without a path.
    pub fn new(recipe: Option<&Path>, args: &RunArgs, progress: Progress) -> Result<Self> {
        // A wrong HIPFLASK_ISA should fail before hours of training, not at the first measurement.
        Isa::from_env()?;
        let places = Recipe::places(recipe);
        let mut recipe = Recipe::load(recipe, &args.set)?;
        recipe.seed = args.seed.unwrap_or(recipe.seed);
        let device = device::choose(&args.device)?;
        for (table, precision) in
            [("teacher", recipe.teacher.precision), ("distill", recipe.distill.precision)]
        {
            precision.check(&device).map_err(|error| anyhow!("{table}.{error}"))?;
        }
        let folder = args.out.clone().unwrap_or_else(|| Path::new("out").join(&recipe.name));
        Ok(Self {
            device,
            folder: RunFolder::new(folder),
            resume: args.resume,
            tensorboard: args.tensorboard,
            recipe,
            places,
            progress,
        })
    }

    /// A run of `recipe` in the folder `name` within this one's.
    #[must_use]
    pub fn within(&self, name: &str, recipe: Recipe) -> Self {
        Self { folder: self.folder.within(name), recipe, ..self.clone() }
    }

    /// One run for each of `count` seeds, counted from this one's, each in a folder of its own; this
    /// run itself where one seed is enough.
    pub fn for_seeds(self, count: Option<u64>) -> Vec<Self> {
        let Some(count @ 2..) = count else { return vec![self] };
        let seeds = (0..count).map(|i| self.recipe.seed.wrapping_add(i));
        let recipe = |seed| Recipe { seed, ..self.recipe.clone() };
        seeds.map(|seed| self.within(&format!("seed-{seed}"), recipe(seed))).collect()
    }

    /// The student's data set, or the one that `spec` declares.
    pub fn data(&self, spec: Option<&DataSpec>) -> Result<DataSet> {
        let spec = spec.unwrap_or(&self.recipe.data);
        let data = DataSet::open(spec, &self.places, self.recipe.seed)?;
        self.progress.left_out(&data.skipped);
        Ok(data)
    }

    /// The file that the recipe names: beside it, then in `$HIPFLASK_DATA`.
    pub fn locate(&self, key: &str, name: &Path) -> Result<PathBuf> {
        let folders = [&self.places.beside, &self.places.shared].into_iter().flatten();
        let candidates: Vec<PathBuf> = folders.map(|folder| folder.join(name)).collect();
        if let Some(found) = candidates.iter().find(|path| path.is_file()) {
            return Ok(found.clone());
        }
        let tried: Vec<String> = candidates.iter().map(|p| p.display().to_string()).collect();
        bail!("{key}: {} is not there; looked for {}", name.display(), tried.join(", then "))
    }

    /// Trains `graph` as `role`; its metrics and checkpoints go to the run's folder.
    pub fn train(
        &self,
        role: &str,
        graph: &Graph,
        data: &DataSet,
        teacher: Option<&dyn Teacher>,
        spec: &TrainSpec,
    ) -> Result<Trained> {
        Ok(self.train_with_peers(role, graph, &[], data, teacher, spec)?.swap_remove(0))
    }

    /// Trains `graph`, folded and in PyTorch's layout, as its int8 form will compute; the ranges of its
    /// values are in `calibration`. What is trained comes in int8.
    pub fn train_rounded(
        &self,
        role: &str,
        graph: &Graph,
        calibration: &Calibration,
        data: &DataSet,
        teacher: Option<&dyn Teacher>,
        spec: &TrainSpec,
    ) -> Result<Trained> {
        let lesson = (teacher, spec, Some(calibration));
        Ok(self.train_all(role, graph, &[], data, lesson)?.swap_remove(0))
    }

    /// Trains `graph` as `role` together with `peers`, whose metrics go to the run's folder too; gives
    /// what became of it, then of each of them.
    pub fn train_with_peers(
        &self,
        role: &str,
        graph: &Graph,
        peers: &[Companion],
        data: &DataSet,
        teacher: Option<&dyn Teacher>,
        spec: &TrainSpec,
    ) -> Result<Vec<Trained>> {
        self.train_all(role, graph, peers, data, (teacher, spec, None))
    }

    fn train_all(
        &self,
        role: &str,
        graph: &Graph,
        peers: &[Companion],
        data: &DataSet,
        (teacher, spec, calibration): (Option<&dyn Teacher>, &TrainSpec, Option<&Calibration>),
    ) -> Result<Vec<Trained>> {
        let (checkpoint, metrics) = (self.folder.checkpoint(role), self.folder.metrics(role));
        let cache = self.recipe.distill.cache.clone();
        let soft_targets = cache.unwrap_or_else(|| self.folder.soft_targets());
        let events = self.folder.events(role);
        let files = Files {
            soft_targets: Some(&soft_targets),
            checkpoint: Some(&checkpoint),
            metrics: Some(&metrics),
            events: Some(events.as_path()).filter(|_| self.tensorboard),
            resume: self.resume,
            every: None,
        };
        let training = Training {
            role,
            graph,
            data,
            calibration,
            teacher,
            spec,
            seed: self.recipe.seed,
            device: &self.device,
            files,
        };
        let logs = |peer: &Companion| {
            let events = Some(self.folder.events(&peer.role)).filter(|_| self.tensorboard);
            (self.folder.metrics(&peer.role), events)
        };
        let logs: Vec<_> = peers.iter().map(logs).collect();
        let peers = peers.iter().zip(&logs).map(|(peer, (metrics, events))| Peer {
            role: &peer.role,
            graph: &peer.graph,
            metrics: Some(metrics),
            events: events.as_deref(),
        });
        let mut monitor = TrainingMonitor::new(role, &self.progress);
        train_with_peers(&training, &peers.collect::<Vec<_>>(), &mut monitor)
            .with_context(|| self.recipe.name.clone())
    }
}
