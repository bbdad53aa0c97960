//! Bundles read back: from a folder, or from an archive with one folder in it.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

use super::{Bundle, File, SUMS, is_archive, read, sums};

/// Most bytes of an archive's content: what a small file can promise is bounded.
const MOST_BYTES: u64 = 4 << 30;

impl Bundle {
    /// Reads the bundle at `path`, a folder or a `.tar.gz`; nothing in it is believed yet.
    pub fn read(path: &Path) -> Result<Self> {
        let bundle = if is_archive(path) { archive(path)? } else { folder(path)? };
        bundle.bytes_of(SUMS).with_context(|| {
            format!("{}: is no bundle: make one with hipflask bundle", path.display())
        })?;
        Ok(bundle)
    }

    /// The bytes of the file `name`.
    pub fn bytes_of(&self, name: &str) -> Result<&[u8]> {
        self.find(name).with_context(|| format!("{name}: is missing"))
    }

    /// The bytes of the file `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        let found = self.files.iter().find(|file| file.name == name);
        found.map(|file| file.bytes.as_slice())
    }
}

/// Files whose name begins with a dot are the desk's, as locks are.
fn folder(path: &Path) -> Result<Bundle> {
    let name = path.display();
    let entries = std::fs::read_dir(path).with_context(|| format!("{name}: cannot be read"))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("{name}: cannot be read"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_file() {
            files.push(file(name, read(&entry.path())?)?);
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Bundle { files })
}

fn archive(path: &Path) -> Result<Bundle> {
    let place = path.display();
    let packed = std::fs::File::open(path).with_context(|| format!("{place}: cannot be read"))?;
    let mut archive = tar::Archive::new(GzDecoder::new(packed).take(MOST_BYTES));
    let damaged = || format!("{place}: is no .tar.gz, or was damaged: copy it again");
    let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let inside = entry.path().with_context(damaged)?.into_owned();
        if !entry.header().entry_type().is_file() {
            bail!("{place}: {}: is no plain file, as all of a bundle are", inside.display());
        }
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folders.insert(inside.parent().map(Path::to_path_buf));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(damaged)?;
        if files.iter().any(|file: &File| file.name == name) {
            bail!("{place}: {name}: is in it twice: make the bundle again");
        }
        files.push(file(name, bytes)?);
    }
    if folders.len() > 1 {
        bail!("{place}: has files in several folders: make the bundle again");
    }
    Ok(Bundle { files })
}

fn file(name: String, bytes: Vec<u8>) -> Result<File> {
    if !sums::is_plain(&name) {
        bail!("{name:?}: is no name of a file in a bundle: make the bundle again");
    }
    let executable = name.starts_with("hipflask-run");
    Ok(File { name, bytes, executable })
}
