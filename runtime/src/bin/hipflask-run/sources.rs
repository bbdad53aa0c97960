//! Where inputs come from: files, all that fit in a folder, standard input.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{Error, ErrorKind, Result, SharedBytes};

/// The files of `names` in that order; a folder becomes what fits the model in it and below it, by
/// name. Hidden files and links to folders are passed over.
pub(crate) fn files(names: &[&str], preprocess: &Preprocess) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for &name in names {
        if !Path::new(name).is_dir() {
            files.push(name.to_string());
            continue;
        }
        let before = files.len();
        let endings = endings(preprocess);
        below(Path::new(name), endings, &mut files)?;
        if files.len() == before {
            let (reads, endings) = (preprocess.reads(), endings.join(", ."));
            let what = format!("no file of {reads} is in this folder or below it (.{endings})");
            return Err(Error::new(ErrorKind::Input, name, what));
        }
    }
    Ok(files)
}

/// The bytes of a file; `-` is `input`.
pub(crate) fn read(name: &str, input: &mut dyn BufRead) -> Result<SharedBytes> {
    if name != "-" {
        return hipflask_runtime::file::open(Path::new(name));
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    Ok(Arc::new(bytes))
}

/// Endings of files that such a model reads, in lower case.
fn endings(preprocess: &Preprocess) -> &'static [&'static str] {
    match preprocess {
        Preprocess::Image(_) => &["pgm", "ppm", "png", "jpg", "jpeg", "npy", "raw"],
        Preprocess::Values(_) => &["npy"],
        Preprocess::Table(_) => &["csv", "tsv"],
        Preprocess::Audio(_) => &["wav"],
        Preprocess::Text(_) => &["txt"],
    }
}

fn below(folder: &Path, endings: &[&str], files: &mut Vec<String>) -> Result<()> {
    let in_folder = |error| unreadable(&folder.display().to_string(), &error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(in_folder)? {
        let entry = entry.map_err(in_folder)?;
        entries.push((entry.file_name(), entry.file_type().map_err(in_folder)?.is_dir()));
    }
    entries.sort();
    for (name, is_folder) in entries {
        let path: PathBuf = folder.join(&name);
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        if is_folder {
            below(&path, endings, files)?;
        } else if ending.is_some_and(|ending| endings.contains(&ending.as_str())) && path.is_file()
        {
            files.push(path.display().to_string());
        }
    }
    Ok(())
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, name, format!("cannot be read: {error}"))
}
