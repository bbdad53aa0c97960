//! What is there to build for another machine: cargo with a linker, cargo-zigbuild, or cross.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::target::{Linker, Target};

/// What builds for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Cargo; with a linker where rustc's choice is not enough.
    Cargo {
        /// Program that links.
        linker: Option<OsString>,
    },
    /// cargo-zigbuild, whose zig links against a C library of the target's.
    Zigbuild,
    /// cross, which builds in a container.
    Cross,
}

impl Tool {
    /// The first that can build for `target` from the source tree `source`: cargo, cargo-zigbuild,
    /// cross. Else an error that names what is missing, with the command that installs it.
    pub(super) fn choose(target: &Target, source: &Path) -> Result<Self> {
        let has_std = has_std(target.triple, source);
        let linker = linker(target);
        let for_linux = !target.is_browser() && !matches!(target.linker, Linker::Ndk { .. });
        match (has_std, linker) {
            (true, Ok(linker)) => return Ok(Self::Cargo { linker }),
            (true, Err(())) if for_linux && has_zig() => return Ok(Self::Zigbuild),
            _ => {}
        }
        let container = ["docker", "podman"].iter().any(|name| on_path(name).is_some());
        if container && !target.is_browser() && on_path("cross").is_some() {
            return Ok(Self::Cross);
        }
        bail!("{}", missing(target, has_std))
    }

    /// Its name, for progress.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Cargo { .. } => "cargo",
            Self::Zigbuild => "cargo-zigbuild",
            Self::Cross => "cross",
        }
    }
}

/// What must be installed to build for `target`.
fn missing(target: &Target, has_std: bool) -> String {
    let triple = target.triple;
    let mut needs = Vec::new();
    if !has_std {
        needs.push(format!("its standard library (rustup target add {triple})"));
    }
    if linker(target).is_err() {
        needs.push(match target.linker {
            Linker::RustLld => "rustc's own linker".into(),
            Linker::Gcc { command, packages } => format!(
                "the linker {command} (apt-get install {packages}), or cargo-zigbuild (pip install \
                 cargo-zigbuild), or cross (cargo install cross) with docker or podman"
            ),
            Linker::Ndk { command } => format!(
                "the linker {command} of Android's NDK (unpack one from \
                 developer.android.com/ndk/downloads and name its folder in ANDROID_NDK_HOME), or \
                 cross (cargo install cross) with docker or podman"
            ),
        });
    }
    let other = match (target.linker, triple.strip_suffix("-gnu")) {
        (Linker::Gcc { .. }, Some(machine)) => {
            format!("; {machine}-musl needs no linker beside rustc's")
        }
        _ => String::new(),
    };
    format!(
        "{triple}: the device binary cannot be built here, for want of {}{other}. A binary that was \
         built elsewhere goes in with --binary",
        needs.join(" and ")
    )
}

/// The linker for `target`: what the user named for cargo, else the usual one if it is there.
fn linker(target: &Target) -> Result<Option<OsString>, ()> {
    let variable =
        format!("CARGO_TARGET_{}_LINKER", target.triple.to_uppercase().replace('-', "_"));
    if let Some(named) = std::env::var_os(variable) {
        return Ok(Some(named));
    }
    match target.linker {
        // For WebAssembly that is rustc's choice without being told.
        Linker::RustLld if target.is_browser() => Ok(None),
        Linker::RustLld => Ok(Some("rust-lld".into())),
        Linker::Gcc { command, .. } => on_path(command).map(|_| Some(command.into())).ok_or(()),
        Linker::Ndk { command } => match on_path(command) {
            Some(_) => Ok(Some(command.into())),
            None => in_ndk(command).map(|path| Some(path.into())).ok_or(()),
        },
    }
}

/// A program of Android's NDK, whose folder the environment names.
fn in_ndk(command: &str) -> Option<PathBuf> {
    let variables = ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"];
    let ndk = variables.iter().find_map(std::env::var_os)?;
    let hosts = std::fs::read_dir(Path::new(&ndk).join("toolchains/llvm/prebuilt")).ok()?;
    hosts.flatten().map(|host| host.path().join("bin").join(command)).find(|path| path.is_file())
}

/// Whether the toolchain in `source` has the standard library of `triple`.
fn has_std(triple: &str, source: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.current_dir(source).args(["--print", "target-libdir", "--target", triple]);
    let output = command.stdin(Stdio::null()).output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(folder.trim()).is_dir()
    })
}

/// Whether cargo-zigbuild is there, and finds its zig.
fn has_zig() -> bool {
    let mut command = Command::new("cargo-zigbuild");
    command.args(["zig", "version"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// Where a program is on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = Path::new(name).with_extension(std::env::consts::EXE_EXTENSION);
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// The program called `variable` in the environment, or `name`.
pub(super) fn program(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| OsStr::new(name).into())
}
