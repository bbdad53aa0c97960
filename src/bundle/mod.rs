//! Bundles: everything that a board needs, with its own proof, in one folder.

pub mod device;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::Model;
use hipflask_runtime::file::write_atomically;
use sha2::{Digest, Sha256};

/// Names of the files in a bundle.
const MODEL: &str = "model.safetensors";
const GOLDEN: &str = "golden.safetensors";

/// Writes the bundle of `model` and its golden samples for `target` into `folder`.
pub fn write(folder: &Path, model: &Path, golden: &Path, target: &str) -> Result<()> {
    let binary = device::find(target)?;
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let opened = Model::open(model)?;
    let labels = opened.card().labels.join("\n") + "\n";
    let files = [
        (device::NAME, read(&binary)?),
        (MODEL, read(model)?),
        (GOLDEN, read(golden)?),
        ("labels.txt", labels.into_bytes()),
        ("README.txt", readme(&opened).into_bytes()),
    ];
    let mut sums = String::new();
    for (name, bytes) in &files {
        write_atomically(&folder.join(name), bytes)?;
        writeln!(sums, "{}  {name}", hex(&Sha256::digest(bytes)))?;
    }
    make_executable(&folder.join(device::NAME))?;
    write_atomically(&folder.join("SHA256SUMS"), sums.as_bytes())?;
    Ok(())
}

fn readme(model: &Model) -> String {
    let graph = model.graph();
    format!(
        "{name}: {layers} layers, {weights} bytes of weights\n\n\
         Copy this folder to the board. There:\n\n  \
         sha256sum -c SHA256SUMS                           is everything here?\n  \
         ./{run} verify {MODEL} {GOLDEN}   the recorded answers, to the bit?\n  \
         ./{run} bench {MODEL}                 how fast?\n  \
         ./{run} predict {MODEL} IMAGE.pgm     the three best classes\n",
        name = graph.name,
        layers = graph.nodes.len(),
        weights = graph.weight_bytes(),
        run = device::NAME,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{}: cannot be made executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}
