//! The device binary `hipflask-run` for a target: the one beside this program, or built from source.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The target that this program was built for.
pub const NATIVE: &str = env!("HIPFLASK_TARGET");

/// Name of the device binary.
pub const NAME: &str = if cfg!(windows) { "hipflask-run.exe" } else { "hipflask-run" };

/// The path of a device binary for `target`, which must be the native one for now.
pub fn find(target: &str) -> Result<PathBuf> {
    if target != NATIVE && target != "native" {
        bail!(
            "target {target}: cross-compiled bundles are not supported yet, only {NATIVE}; build \
             the device binary with `cargo build --profile dist -p hipflask-runtime --bin \
             hipflask-run --target {target}` and put it beside the model and its golden samples"
        );
    }
    if let Some(beside) = beside_this_program() {
        return Ok(beside);
    }
    build()
}

/// `hipflask-run` in this program's folder, if it is of this version.
fn beside_this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(NAME);
    let output = Command::new(&path).arg("--version").output().ok()?;
    let wanted = format!("hipflask-run {}", env!("CARGO_PKG_VERSION"));
    (String::from_utf8_lossy(&output.stdout).trim() == wanted).then_some(path)
}

/// Builds it with cargo from the source tree that this program was built from.
fn build() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = source.join("runtime").join("Cargo.toml");
    if !manifest.is_file() {
        bail!(
            "the device binary is not beside this program, and the source tree to build it from is \
             gone: install it with `cargo install --path runtime` into the same folder"
        );
    }
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
    let executable = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executable.last().context("cargo built the device binary but does not say where")
}
