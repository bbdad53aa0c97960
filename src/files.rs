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
    /// died; the file stays. What such a process left half-written is removed.
    pub fn take(folder: &Path) -> Result<Self> {
        let name = folder.display();
        if folder.is_file() {
            bail!("{name}: is a file, results need a folder: give another name with --out");
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{name}: the folder cannot be made"))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(".lock"))
            .with_context(|| format!("{name}: the folder cannot be written to"))?;
        match file.try_lock() {
            Ok(()) => {
                remove_unfinished(folder);
                Ok(Self { _file: file })
            }
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

/// Removes what killed runs left in `folder`: temporary files of [`write_atomically`], named
/// `.FILE.PROCESS.tmp`, in it and in the folders that a run makes.
///
/// Nobody else writes there; what cannot be removed disturbs nobody.
fn remove_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && FOLDERS.iter().any(|ours| name.starts_with(ours)) {
            remove_unfinished(&entry.path());
        } else if !is_folder && is_unfinished(&name) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How the names of the folders in a run's folder begin.
const FOLDERS: [&str; 4] = ["checkpoints", "bundle", "seed-", "sweep-"];

fn is_unfinished(name: &str) -> bool {
    let process = name.strip_suffix(".tmp").and_then(|rest| rest.rsplit_once('.'));
    name.starts_with('.') && process.is_some_and(|(_, id)| id.parse::<u32>().is_ok())
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
    fn what_a_killed_run_left_goes_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let left = [
            ".report.json.17.tmp",
            "checkpoints/.student.safetensors.4000000.tmp",
            "seed-1/sweep-temperature=4/.control-f32.safetensors.17.tmp",
        ];
        let kept =
            ["report.json", ".notes.tmp", "a.17.tmp", "photos/.a.17.tmp", "seed-1/report.json"];
        for name in left.iter().chain(&kept) {
            write(&folder.path().join(name), b"x").unwrap();
        }
        let _lock = FolderLock::take(folder.path()).unwrap();
        assert!(left.iter().all(|name| !folder.path().join(name).exists()));
        assert!(kept.iter().all(|name| folder.path().join(name).exists()));
    }

    #[test]
    fn a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        write(&path, b"").unwrap();
        let error = FolderLock::take(&path).unwrap_err().to_string();
        assert!(error.contains("recipe.toml: is a file") && error.contains("--out"), "{error}");
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
