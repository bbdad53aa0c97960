//! Bundles on disk: a folder, or an archive with one folder in it.

use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Bundle, GOLDEN, MODEL, PAGE, SUMS};
use crate::files::write;

const ENDINGS: [&str; 2] = [".tar.gz", ".tgz"];

/// Whether `path` is the name of an archive.
pub fn is_archive(path: &Path) -> bool {
    stem(path).is_some()
}

/// The name of an archive without its ending.
fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))
}

/// Every name that a file of ours may have in a bundle.
fn names() -> impl Iterator<Item = &'static str> {
    let others = ["hipflask-run", "hipflask-run.exe", "hipflask.wasm", "labels.txt", "README.txt"];
    let page = PAGE.iter().map(|(name, _)| *name);
    [SUMS, MODEL, GOLDEN].into_iter().chain(others).chain(page)
}

/// Writes the files into a folder, the checksums last; what another bundle left there goes first.
pub(super) fn folder(bundle: &Bundle, folder: &Path) -> Result<()> {
    for name in names() {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = folder.join(name);
                return Err(error)
                    .with_context(|| format!("{}: cannot be replaced", path.display()));
            }
            _ => {}
        }
    }
    for file in &bundle.files {
        let path = folder.join(&file.name);
        write(&path, &file.bytes)?;
        if file.executable {
            make_executable(&path)?;
        }
    }
    Ok(())
}

/// Writes an archive; the same files give the same bytes.
pub(super) fn archive(bundle: &Bundle, path: &Path) -> Result<()> {
    let packed = || -> Result<Vec<u8>> {
        let folder = stem(path).filter(|stem| !stem.is_empty()).unwrap_or("bundle");
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for file in &bundle.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(file.bytes.len() as u64);
            header.set_mode(if file.executable { 0o755 } else { 0o644 });
            let name = Path::new(folder).join(&file.name);
            archive.append_data(&mut header, name, file.bytes.as_slice())?;
        }
        Ok(archive.into_inner()?.finish()?)
    };
    let bytes = packed().with_context(|| format!("{}: cannot be packed", path.display()))?;
    write(path, &bytes)
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
