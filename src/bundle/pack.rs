//! Bundles on disk: a folder, or an archive with one folder in it.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Bundle, GOLDEN, MODEL, PAGE, SIGNATURE, SUMS};
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
    [SUMS, SIGNATURE, MODEL, GOLDEN].into_iter().chain(others).chain(page)
}

/// Writes the files into a folder, the checksums last; what another bundle left there goes first.
pub fn write_folder(bundle: &Bundle, folder: &Path) -> Result<()> {
    for name in names() {
        let path = folder.join(name);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("{}: cannot be replaced", path.display()));
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

impl Bundle {
    /// Writes the files as a tar archive into `to`, under the folder `folder`, or none where that is
    /// empty; the same files give the same bytes.
    pub fn tar<W: Write>(&self, folder: &str, to: W) -> io::Result<W> {
        let mut archive = tar::Builder::new(to);
        for file in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(file.bytes.len() as u64);
            header.set_mode(if file.executable { 0o755 } else { 0o644 });
            let name = Path::new(folder).join(&file.name);
            archive.append_data(&mut header, name, file.bytes.as_slice())?;
        }
        archive.into_inner()
    }
}

/// Writes a `.tar.gz`, with a folder in it that is called as the archive is.
pub(super) fn archive(bundle: &Bundle, path: &Path) -> Result<()> {
    let folder = stem(path).filter(|stem| !stem.is_empty()).unwrap_or("bundle");
    let gzip = GzEncoder::new(Vec::new(), Compression::best());
    let packed = bundle.tar(folder, gzip).and_then(GzEncoder::finish);
    write(path, &packed.with_context(|| format!("{}: cannot be packed", path.display()))?)
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
