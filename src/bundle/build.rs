//! Builds what runs on a device from the source tree, for this machine or another.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::target::Target;
use super::tools::{Tool, program};

/// Oldest C library that programs built by cargo-zigbuild run with: the one of Rust's standard
/// library itself.
const GLIBC: &str = ".2.17";

/// Builds for this machine, for size and speed; gives the program's path.
pub(super) fn native(source: &Path) -> Result<PathBuf> {
    let mut command = Command::new(program("CARGO", "cargo"));
    command.args(["build", "--locked", "--profile", "dist", "--message-format", "json"]);
    let text = run(command.args(DEVICE_BINARY), source)?;
    let mut executable = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executable.next_back().context("cargo built the device binary but does not say where")
}

/// Builds for `target` with `tool`; gives the path of the program, or of the module for a page.
pub(super) fn cross(source: &Path, target: &Target, tool: &Tool) -> Result<PathBuf> {
    let triple = target.triple;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or(source.join("target"), PathBuf::from);
    let folder = std::path::absolute(folder).context("the current folder has gone")?;
    let mut command = match tool {
        Tool::Cargo { .. } => Command::new(program("CARGO", "cargo")),
        Tool::Zigbuild => Command::new("cargo-zigbuild"),
        Tool::Cross => Command::new("cross"),
    };
    command.arg(match (tool, target.is_browser()) {
        (Tool::Zigbuild, _) => "zigbuild",
        (_, true) => "rustc",
        (_, false) => "build",
    });
    command.args(["--locked", "--profile", "dist", "--target"]);
    match (tool, triple.contains("-gnu")) {
        (Tool::Zigbuild, true) => command.arg(format!("{triple}{GLIBC}")),
        _ => command.arg(triple),
    };
    command.arg("--target-dir").arg(&folder);
    if let Some(feature) = feature(target, tool) {
        let flags = format!("target.{triple}.rustflags=[\"-Ctarget-feature={feature}\"]");
        command.arg("--config").arg(flags);
    }
    if let Tool::Cargo { linker: Some(linker) } = tool {
        let linker = linker.to_str().context("the linker's path is not UTF-8")?;
        let linker = toml::Value::String(linker.into());
        command.arg("--config").arg(format!("target.{triple}.linker={linker}"));
    }
    let (args, name) = if target.is_browser() {
        (MODULE, "hipflask_c.wasm")
    } else {
        (DEVICE_BINARY, "hipflask-run")
    };
    // Flags for this machine, as `-C target-cpu=native`, are illegal instructions on a board.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(command.args(args), source)?;
    let path = folder.join(triple).join("dist").join(name);
    if !path.is_file() {
        bail!("{}: {} built it, but it is not there", path.display(), tool.name());
    }
    Ok(path)
}

const DEVICE_BINARY: &[&str] = &["-p", "hipflask-runtime", "--bin", "hipflask-run"];
const MODULE: &[&str] = &["-p", "hipflask-capi", "--lib", "--crate-type", "cdylib"];

/// What the compiler is told beside the target.
fn feature(target: &Target, tool: &Tool) -> Option<&'static str> {
    match tool {
        _ if target.is_browser() => Some("+simd128"),
        // Linked statically the program asks nothing of the board; zig has no static glibc.
        Tool::Cargo { .. } | Tool::Cross if target.triple.contains("-gnu") => Some("+crt-static"),
        _ => None,
    }
}

/// Runs a build to its end; gives its stdout.
fn run(command: &mut Command, source: &Path) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(source)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("{name} cannot be started to build the device binary"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} could not build the device binary:\n{}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
