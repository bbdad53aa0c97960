//! What an interrupted ladder left: the rungs so far, the student that the next is built on, and the best.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hipflask_quantize::recover::{Candidate, Height, Origin};
use hipflask_runtime::file;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Graph, LoadLimits};
use serde::{Deserialize, Serialize};

use crate::files::write;
use crate::report::ladder::{RungReport, Skipped};

/// Of the files here; others are not read.
const VERSION: u32 = 1;

/// A ladder between two rungs.
pub struct LadderState {
    /// The rungs climbed.
    pub rungs: Vec<RungReport>,
    /// Those that were left out.
    pub skipped: Vec<Skipped>,
    /// How far it is.
    pub height: Height,
    /// Which of `rungs` the next is built on, and its student.
    pub adopted: (usize, Candidate),
    /// Which of `rungs` is the best, and its student.
    pub best: (usize, Candidate),
}

/// Where the state lies: a folder beside the file that is made.
pub struct LadderFolder {
    folder: PathBuf,
    /// Fingerprint of the student, the samples and the options.
    run: String,
}

/// The state without graphs; these are in files of their own, named by rung.
#[derive(Deserialize, Serialize)]
struct Document {
    version: u32,
    run: String,
    rungs: Vec<RungReport>,
    skipped: Vec<Skipped>,
    height: Height,
    adopted: (usize, Origin),
    best: (usize, Origin),
}

impl LadderFolder {
    /// That of the run `run` whose result is `made`.
    pub fn beside(made: &Path, run: String) -> Self {
        Self { folder: made.with_extension("ladder"), run }
    }

    /// What was kept; `None` where nothing was.
    pub fn load(&self) -> Result<Option<LadderState>> {
        let path = self.folder.join("state.json");
        if !path.is_file() {
            return Ok(None);
        }
        let name = path.display();
        let bytes = std::fs::read(&path).with_context(|| format!("{name}: cannot be read"))?;
        let again = || format!("{name}: is no state of this program: start again without --resume");
        let found: Document = serde_json::from_slice(&bytes).with_context(again)?;
        if found.version != VERSION || found.run != self.run {
            bail!(
                "{name}: is that of another student, other samples or other options: give the same \
                 again, or start again without --resume"
            );
        }
        if [found.adopted.0, found.best.0].iter().any(|&rung| rung >= found.rungs.len()) {
            bail!("{name}: names a rung that it does not have: start again without --resume");
        }
        let candidate = |(rung, origin): (usize, Origin)| {
            let [float, int8] = ["float", "int8"].map(|kind| read(&self.graph(rung, kind)));
            anyhow::Ok((rung, Candidate::from_kept(origin, float?, int8?)))
        };
        Ok(Some(LadderState {
            adopted: candidate(found.adopted)?,
            best: candidate(found.best)?,
            rungs: found.rungs,
            skipped: found.skipped,
            height: found.height,
        }))
    }

    /// Replaces what was kept.
    pub fn save(&self, state: &LadderState) -> Result<()> {
        let kept = [&state.adopted, &state.best];
        for (rung, candidate) in kept {
            for (kind, graph) in [("float", &candidate.float), ("int8", &candidate.int8)] {
                let path = self.graph(*rung, kind);
                if !path.is_file() {
                    let file =
                        ModelFile { graph: graph.clone(), preprocess: None, card: Card::default() };
                    write(&path, &file.to_bytes())?;
                }
            }
        }
        let document = Document {
            version: VERSION,
            run: self.run.clone(),
            rungs: state.rungs.clone(),
            skipped: state.skipped.clone(),
            height: state.height.clone(),
            adopted: (state.adopted.0, state.adopted.1.origin()),
            best: (state.best.0, state.best.1.origin()),
        };
        // Last: it names only files that are whole.
        write(&self.folder.join("state.json"), &serde_json::to_vec(&document)?)?;
        for rung in (0..state.rungs.len()).filter(|rung| kept.iter().all(|(kept, _)| kept != rung))
        {
            for kind in ["float", "int8"] {
                // What is left over harms nobody.
                let _ = std::fs::remove_file(self.graph(rung, kind));
            }
        }
        Ok(())
    }

    /// The folder of the last rung's training, and its most minutes: `minutes`, or what they were when
    /// it was begun, because that is part of what it computes.
    pub fn training(&self, minutes: Option<f64>) -> Result<(PathBuf, Option<f64>)> {
        let folder = self.folder.join("training");
        let path = folder.join("minutes.json");
        if !path.is_file() {
            write(&path, &serde_json::to_vec(&minutes)?)?;
            return Ok((folder, minutes));
        }
        let name = path.display();
        let bytes = std::fs::read(&path).with_context(|| format!("{name}: cannot be read"))?;
        let again = || format!("{name}: is no number of minutes: start again without --resume");
        Ok((folder, serde_json::from_slice(&bytes).with_context(again)?))
    }

    /// Forgets what was kept.
    pub fn remove(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let name = self.folder.display().to_string();
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("{name}: cannot be removed"))
    }

    fn graph(&self, rung: usize, kind: &str) -> PathBuf {
        self.folder.join(format!("rung-{rung}-{kind}.safetensors"))
    }
}

fn read(path: &Path) -> Result<Graph> {
    let bytes = file::open(path)?;
    let file = ModelFile::from_shared(bytes, &LoadLimits::default());
    Ok(file.map_err(|error| error.in_file(&path.display().to_string()))?.graph)
}
