//! Files of a run: written atomically, in a folder that one process at a time may write.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_runtime::file::write_atomically;

/// Writes a whole file: a reader sees the old one or the new one, never a part.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomically(path, bytes)?)
}

/// The only process that writes into a run folder, until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes `folder` where it is missing and takes its lock, the file `.lock` in it.
    ///
    /// Fails at once when another process holds it. The system frees the lock of a process that
    /// died; the file stays.
    pub fn take(folder: &Path) -> Result<Self> {
        let name = folder.display();
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{name}: the folder cannot be made"))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(".lock"))
            .with_context(|| format!("{name}: the folder cannot be written to"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "{name}: another run is writing into this folder: wait for it, or give another \
                 folder with --out"
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{name}: the folder cannot be locked"))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{FolderLock, write};

    #[test]
    fn a_folder_has_one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let first = FolderLock::take(&run).unwrap();
        let error = FolderLock::take(&run).unwrap_err().to_string();
        assert!(error.contains("run: another run") && error.contains("--out"), "{error}");
        drop(first);
        FolderLock::take(&run).unwrap();
    }

    #[test]
    fn writing_makes_folders_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
