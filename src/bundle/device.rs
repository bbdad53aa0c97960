//! The device binary `hipflask-run` for a target: built from source, small and fast, or the one beside
//! this program where there is no source.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// The target that this program was built for.
pub const NATIVE: &str = env!("HIPFLASK_TARGET");

/// Name of the device binary.
pub const NAME: &str = if cfg!(windows) { "hipflask-run.exe" } else { "hipflask-run" };

/// The triple of `target`, which may be `native`.
pub fn name(target: &str) -> &str {
    if target == "native" { NATIVE } else { target }
}

/// The path of a device binary for `target`, which must be the native one for now.
pub fn find(target: &str, progress: &Progress) -> Result<PathBuf> {
    if name(target) != NATIVE {
        bail!(
            "target {target}: cross-compiled bundles are not supported yet, only {NATIVE}; build \
             the device binary with `cargo build --profile dist -p hipflask-runtime --bin \
             hipflask-run --target {target}` and put it beside the model and its golden samples"
        );
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    if source.join("runtime").join("Cargo.toml").is_file() {
        progress.line("bundle: building the device binary with cargo");
        return build(source).or_else(|error| beside_this_program().ok_or(error));
    }
    beside_this_program().with_context(|| {
        format!(
            "the device binary {NAME} of version {} is not beside this program, and the source tree \
             to build it from is gone: install it with `cargo install hipflask-runtime` into the same \
             folder",
            env!("CARGO_PKG_VERSION")
        )
    })
}

/// `hipflask-run` in this program's folder, if it is of this version.
fn beside_this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(NAME);
    let output = Command::new(&path).arg("--version").output().ok()?;
    let wanted = format!("hipflask-run {}", env!("CARGO_PKG_VERSION"));
    (String::from_utf8_lossy(&output.stdout).trim() == wanted).then_some(path)
}

/// Builds it with cargo, for size and speed, from the source tree that this program was built from.
fn build(source: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(source)
        .args(["build", "--locked", "--profile", "dist", "--message-format", "json"])
        .args(["-p", "hipflask-runtime", "--bin", "hipflask-run"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cargo cannot be started to build the device binary")?;
    if !output.status.success() {
        bail!(
            "cargo could not build the device binary:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut executable = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executable.next_back().context("cargo built the device binary but does not say where")
}
