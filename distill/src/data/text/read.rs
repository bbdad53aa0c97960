//! Labelled texts: tables of tab- or comma-separated values, and folders with one of `.txt` files a
//! class.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use hipflask_runtime::input::csv;
use rayon::prelude::*;

use super::super::files;
use super::super::part::Part;
use super::{MOST_TOKENS, TextTokenizer, Texts};
use crate::data::{DataSpec, OnError, Places, Samples, Split};
use crate::{Error, ErrorKind, Result};

/// Most bytes of a table, uncompressed.
const MOST_BYTES: u64 = 1 << 30;

/// A text before it is split into tokens.
struct Entry {
    class: Option<String>,
    text: String,
}

/// Texts and what was left out.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    skipped: Vec<String>,
}

impl Found {
    /// Ends the run with `message`, or leaves that text out.
    fn damaged(&mut self, at: &str, message: &str, on_error: OnError) -> Result<()> {
        match on_error {
            OnError::Refuse => {
                let hint = "correct it, or leave such texts out with on_error = \"skip\"";
                Err(Error::new(ErrorKind::Data, at, format!("{message}: {hint}")))
            }
            OnError::Skip => {
                self.skipped.push(format!("{at}: {message}"));
                Ok(())
            }
        }
    }
}

/// The texts of `name`: a table where it ends in `.tsv`, `.csv` or `.txt` (or with `.gz` after that),
/// else a folder or an archive.
pub(in crate::data) fn read(
    name: &Path,
    spec: &DataSpec,
    places: &Places,
    tokenizer: &TextTokenizer,
) -> Result<Part> {
    let lower = name.to_string_lossy().to_lowercase();
    let kind = Path::new(lower.strip_suffix(".gz").unwrap_or(&lower));
    let separator = match kind.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Some(','),
        Some("tsv" | "tab" | "txt") => Some('\t'),
        _ => None,
    };
    let found = if let Some(separator) = separator {
        table(&spec.locate(name, places)?, separator, spec.on_error)?
    } else {
        let (root, inner) = spec.locate_tree(name, places)?;
        folder(&root, &inner, spec.on_error)?
    };
    part(found, &name.display().to_string(), tokenizer)
}

fn part(Found { entries, skipped }: Found, name: &str, tokenizer: &TextTokenizer) -> Result<Part> {
    let classes: BTreeSet<&String> = entries.iter().filter_map(|e| e.class.as_ref()).collect();
    let classes: Vec<String> = classes.into_iter().cloned().collect();
    let place = |entry: &Entry| Some(classes.binary_search(entry.class.as_ref()?).ok()? as u32);
    let labels: Option<Vec<u32>> = entries.iter().map(place).collect();
    if entries.is_empty() {
        return Err(Error::new(ErrorKind::Data, name, "holds no texts"));
    }
    let tokens = entries.par_iter().map(|entry| tokenizer.tokens(&entry.text));
    let mut texts = Texts::new(tokenizer);
    for tokens in tokens.collect::<Result<Vec<_>>>()? {
        texts.push(tokens.into_iter().take(MOST_TOKENS));
    }
    let named = labels.is_some();
    let split = Split { samples: Samples::Texts(texts), labels };
    Ok(Part { split, classes: named.then_some(classes), skipped })
}

/// A row a text. A first row that has a field `text` names the columns, of which `text` and, if there
/// is one, `label` count; without it a row is a label and a text, or a text alone.
fn table(path: &Path, separator: char, on_error: OnError) -> Result<Found> {
    let shown = path.display().to_string();
    let wrong = |message: String| Error::new(ErrorKind::Data, &shown, message);
    let bytes = uncompressed(path)
        .map_err(|e| Error::new(ErrorKind::Io, &shown, format!("cannot be read: {e}")))?;
    let in_file = |error: hipflask_runtime::Error| wrong(error.message().into());
    let content = csv::text(&bytes).map_err(in_file)?;
    let mut rows = match separator {
        ',' => csv::Records::new(content, b',')
            .map(|record| {
                let csv::Record { line, fields } = record.map_err(in_file)?;
                Ok((line, fields.into_iter().map(Cow::into_owned).collect()))
            })
            .collect::<Result<Rows>>()?,
        _ => tab_separated(content),
    };
    let Some((_, first)) = rows.first() else { return Err(wrong("is empty".into())) };
    let column = |name: &str| first.iter().position(|f| f.trim().eq_ignore_ascii_case(name));
    let width = first.len();
    let (label, text) = match (column("text"), width) {
        (Some(text), _) => {
            let label = column("label");
            rows.remove(0);
            (label, text)
        }
        (None, 1) => (None, 0),
        (None, 2) => (Some(0), 1),
        (None, _) => {
            return Err(wrong(format!(
                "has {width} columns and no titles: put a first row before it that names the columns \
                 label and text"
            )));
        }
    };
    let mut found = Found::default();
    for (line, row) in rows {
        let at = format!("{shown}, line {line}");
        if row.len() != width {
            let message = format!("has {} fields, the first line has {width}", row.len());
            found.damaged(&at, &message, on_error)?;
            continue;
        }
        let field = |column: usize| row.get(column).map(|field| field.trim().to_string());
        let class = label.and_then(field);
        if class.as_ref().is_some_and(String::is_empty) {
            found.damaged(&at, "has no label", on_error)?;
            continue;
        }
        found.entries.push(Entry { class, text: field(text).unwrap_or_default() });
    }
    Ok(found)
}

/// The bytes of a file, plain or gzip.
fn uncompressed(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = files::uncompressed(BufReader::new(File::open(path)?))?;
    reader.take(MOST_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {} GiB", MOST_BYTES >> 30)));
    }
    Ok(bytes)
}

/// Rows with the numbers of their lines.
type Rows = Vec<(usize, Vec<String>)>;

/// Fields between tabs; quotes mean nothing.
fn tab_separated(content: &str) -> Rows {
    let lines = (1..).zip(content.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| (n, line.split('\t').map(ToString::to_string).collect())).collect()
}

/// A text a file: `CLASS/….txt`, or texts without classes where none stands in a folder.
fn folder(root: &Path, inner: &str, on_error: OnError) -> Result<Found> {
    let mut files = files::list(root, inner)?;
    files.retain(|file| {
        Path::new(&file.name).extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"))
    });
    let class = |name: &str| Some(name.split_once('/')?.0.to_string());
    let classed = files.iter().filter(|file| class(&file.name).is_some()).count();
    if let Some(alone) = files.iter().find(|file| class(&file.name).is_none())
        && classed > 0
    {
        let message = "stands in no class's folder, others do: move it into one, or elsewhere";
        return Err(Error::new(ErrorKind::Data, &alone.path, message));
    }
    let mut found = Found::default();
    for file in &files {
        match std::str::from_utf8(&file.read()?) {
            Ok(text) => {
                found.entries.push(Entry { class: class(&file.name), text: text.into() });
            }
            Err(_) => found.damaged(&file.path, "is not UTF-8", on_error)?,
        }
    }
    Ok(found)
}
