//! Bundles: everything that a board needs, with its own proof, in one folder.

pub mod device;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::Model;
use hipflask_runtime::file::write_atomically;
use hipflask_runtime::input::Preprocess;
use sha2::{Digest, Sha256};

/// Names of the files in a bundle.
const MODEL: &str = "model.safetensors";
const GOLDEN: &str = "golden.safetensors";

/// Writes the bundle of the file `model` and its `golden` samples into `folder`; `binary` is the
/// device's, from [`device::find`].
pub fn write(folder: &Path, binary: &Path, model: &Path, golden: &[u8]) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let opened = Model::open(model)?;
    let labels = opened.card().labels.join("\n") + "\n";
    let files = [
        (device::NAME, read(binary)?),
        (MODEL, read(model)?),
        (GOLDEN, golden.to_vec()),
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

/// Bytes of all files in a bundle.
pub fn size(folder: &Path) -> Result<u64> {
    let names = [device::NAME, MODEL, GOLDEN, "labels.txt", "README.txt", "SHA256SUMS"];
    names.iter().map(|name| Ok(std::fs::metadata(folder.join(name))?.len())).sum()
}

fn readme(model: &Model) -> String {
    let graph = model.graph();
    let run = format!("./{}", device::NAME);
    // None where the board lacks the preprocessing, or the tokenizer.
    let sample = match model.preprocess() {
        Some(Preprocess::Image(_)) => Some("IMAGE.pgm"),
        Some(Preprocess::Audio(_)) => Some("SOUND.wav"),
        Some(Preprocess::Table(_)) => Some("ROWS.csv"),
        Some(Preprocess::Values(_)) => Some("ARRAY.npy"),
        Some(Preprocess::Text(rule)) if rule.check_bytes().is_ok() => Some("LINES.txt"),
        Some(Preprocess::Text(_)) | None => None,
    };
    let mut commands = vec![
        ("sha256sum -c SHA256SUMS".to_string(), "is everything here?"),
        (format!("{run} verify {MODEL} {GOLDEN}"), "are the answers the recorded ones?"),
        (format!("{run} bench {MODEL}"), "how fast?"),
    ];
    if let Some(sample) = sample {
        commands.push((format!("{run} predict {MODEL} {sample}"), "the three best classes"));
    }
    let mut text = format!(
        "{}: {} layers, {} bytes of weights\n\nCopy this folder to the board. There:\n\n",
        graph.name,
        graph.nodes.len(),
        graph.weight_bytes()
    );
    for (command, what) in commands {
        text += &format!("  {command:<60} {what}\n");
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
