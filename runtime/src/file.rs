//! Files: opened for reading (mapped where the feature `mmap` is on), written atomically.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::tensor::SharedBytes;
use crate::{Error, ErrorKind, Result};

/// The bytes of a whole file.
pub fn open(path: &Path) -> Result<SharedBytes> {
    read(path).map_err(|e| io_error(path, "cannot be read", &e))
}

#[cfg(feature = "mmap")]
fn read(path: &Path) -> std::io::Result<SharedBytes> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    Ok(Arc::new(crate::mmap::map(&file)?))
}

#[cfg(not(feature = "mmap"))]
fn read(path: &Path) -> std::io::Result<SharedBytes> {
    Ok(Arc::new(std::fs::read(path)?))
}

/// Writes a whole file so that a reader sees the old one or the new one, never a part: a
/// temporary file beside it, synced, then renamed. Missing folders are made.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let run = || {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // Leaving a partial temporary file behind helps nobody; the first error is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    };
    run().map_err(|e| io_error(path, "cannot be written", &e))
}

fn io_error(path: &Path, what: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, path.display().to_string(), format!("{what}: {error}"))
}
