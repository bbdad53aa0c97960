//! The run folder: where each file of a run lies.

use std::path::{Path, PathBuf};

/// The files of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// The folder of the whole command, where this is one of several seeds or a part of a sweep.
    outer: PathBuf,
}

impl RunFolder {
    /// The run whose results go to `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { outer: root.clone(), root }
    }

    /// The folder `name` in it, for one of several runs.
    #[must_use]
    pub fn within(&self, name: &str) -> Self {
        Self { root: self.root.join(name), outer: self.outer.clone() }
    }

    /// The folder of the whole command: its own, but where it is one of several runs.
    #[must_use]
    pub fn outer(&self) -> Self {
        Self::new(&self.outer)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The trained teacher.
    pub fn teacher(&self) -> PathBuf {
        self.file("teacher.safetensors")
    }

    /// The student in a format: f32, f16 or int8.
    pub fn student(&self, format: &str) -> PathBuf {
        self.file(&format!("student-{format}.safetensors"))
    }

    /// The same student trained on labels only.
    pub fn control(&self) -> PathBuf {
        self.file("control-f32.safetensors")
    }

    /// Recorded samples with the exact answers of the student for the board.
    pub fn golden(&self) -> PathBuf {
        self.file("golden.safetensors")
    }

    /// What was measured.
    pub fn report(&self) -> PathBuf {
        self.file("report.json")
    }

    /// Metrics of one training, a JSON object a line.
    pub fn metrics(&self, role: &str) -> PathBuf {
        self.file(&format!("metrics-{role}.jsonl"))
    }

    /// TensorBoard's event files of one training.
    pub fn events(&self, role: &str) -> PathBuf {
        self.root.join("tensorboard").join(role)
    }

    /// The teacher's answers, where the recipe limits the views and names no other cache: several
    /// runs share what they ask alike.
    pub fn soft_targets(&self) -> PathBuf {
        self.outer.join("soft-targets")
    }

    /// The checkpoint of one training.
    pub fn checkpoint(&self, role: &str) -> PathBuf {
        self.root.join("checkpoints").join(format!("{role}.safetensors"))
    }
}
