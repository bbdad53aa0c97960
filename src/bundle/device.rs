//! What runs on the device, for a target: built from source, small and fast, or one that is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build;
use super::target::{self, Board, Machine, NATIVE, Target};
use super::tools::Tool;
use crate::progress::Progress;

/// Name of the device binary for this machine.
const NATIVE_NAME: &str = if cfg!(windows) { "hipflask-run.exe" } else { "hipflask-run" };

/// What runs on a device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The program, or the module for a page.
    pub path: PathBuf,
    /// Its target; none is this machine.
    pub target: Option<&'static Target>,
    /// The board, where it was named.
    pub board: Option<&'static Board>,
}

impl Device {
    /// The one for `name`: a triple, a board's name, or `native`.
    pub fn find(name: &str, progress: &Progress) -> Result<Self> {
        let target = Target::of(name)?;
        let path = match target {
            None => native(*progress)?,
            Some(target) => other(target, *progress)?,
        };
        Self { path, target, board: target::board(name) }.checked()
    }

    /// The program at `path`, which was built elsewhere for `name`.
    pub fn given(path: &Path, name: &str) -> Result<Self> {
        Self { path: path.into(), target: Target::of(name)?, board: target::board(name) }.checked()
    }

    /// Its name in a bundle.
    pub fn name(&self) -> &'static str {
        match self.target {
            None => NATIVE_NAME,
            Some(target) if target.is_browser() => "hipflask.wasm",
            Some(_) => "hipflask-run",
        }
    }

    /// Its target's triple.
    pub fn triple(&self) -> &'static str {
        self.target.map_or(NATIVE, |target| target.triple)
    }

    /// Refuses a program for another machine.
    fn checked(self) -> Result<Self> {
        let Some(target) = self.target else { return Ok(self) };
        if Machine::of(&super::read(&self.path)?) != Some(target.machine) {
            bail!(
                "{}: is no program for {}: build it with --target {}",
                self.path.display(),
                target.triple,
                target.triple
            );
        }
        Ok(self)
    }
}

/// The source tree that this program was built from, if it is still there.
fn source() -> Option<&'static Path> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    source.join("runtime").join("Cargo.toml").is_file().then_some(source)
}

fn native(progress: Progress) -> Result<PathBuf> {
    if let Some(source) = source() {
        progress.line("bundle: building the device binary with cargo");
        return build::native(source).or_else(|error| beside_this_program().ok_or(error));
    }
    beside_this_program().with_context(|| {
        format!(
            "the device binary {NATIVE_NAME} of version {} is not beside this program, and the \
             source tree to build it from is gone: install it with `cargo install \
             hipflask-runtime` into the same folder",
            env!("CARGO_PKG_VERSION")
        )
    })
}

/// `hipflask-run` in this program's folder, if it is of this version.
fn beside_this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(NATIVE_NAME);
    let output = Command::new(&path).arg("--version").output().ok()?;
    let wanted = format!("hipflask-run {}", env!("CARGO_PKG_VERSION"));
    (String::from_utf8_lossy(&output.stdout).trim() == wanted).then_some(path)
}

fn other(target: &Target, progress: Progress) -> Result<PathBuf> {
    let source = source().with_context(|| {
        format!(
            "{}: the source tree to build the device binary from is gone: build it elsewhere and \
             give it with --binary",
            target.triple
        )
    })?;
    let tool = Tool::choose(target, source)?;
    progress.line(&format!("bundle: building for {} with {}", target.triple, tool.name()));
    build::cross(source, target, &tool)
}
