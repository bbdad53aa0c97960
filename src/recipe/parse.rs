//! From TOML text to a recipe, with errors that name line, key and table.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::suggest::unknown;
use super::{Recipe, peers};

/// What is wrong with a recipe, and with which key.
#[derive(Debug)]
pub(super) struct Problem {
    /// Keys from the root to the place, as `["distill", "loss", "0", "weight"]`.
    pub(super) path: Vec<String>,
    /// Where the text itself is broken, so that there are no keys.
    line: Option<usize>,
    /// A sentence that names the key.
    pub(super) message: String,
}

impl Problem {
    /// A problem with the value of the key `path`, as `distill.epochs`.
    pub(super) fn at(path: &str, message: impl Into<String>) -> Self {
        let path = path.split('.').map(Into::into).collect();
        Self { path, line: None, message: message.into() }
    }

    /// The sentence with file and line.
    pub(super) fn in_file(&self, file: &str, text: &str) -> String {
        let line = self.line.or_else(|| {
            let document = DeTable::parse(text).ok()?;
            let span = locate(document.get_ref(), &self.path)?;
            Some(line_of(text, span.start))
        });
        match line {
            Some(line) => format!("{file}, line {line}: {}", self.message),
            None => format!("{file}: {}", self.message),
        }
    }
}

/// The recipe that `text` declares, not checked for ranges.
pub(super) fn parse(text: &str) -> Result<Recipe, Problem> {
    let document = DeTable::parse(text).map_err(|error| Problem {
        path: Vec::new(),
        line: error.span().map(|span| line_of(text, span.start)),
        message: format!("this is not TOML: {}", error.message()),
    })?;
    let mut recipe: Recipe =
        toml::from_str(text).map_err(|error| explain(document.get_ref(), &error))?;
    // What peers learn by default is known only once there are some.
    let distill = document.get_ref().get("distill").map(toml::Spanned::get_ref);
    let has_loss = distill.and_then(DeValue::as_table).is_some_and(|t| t.contains_key("loss"));
    if !recipe.distill.peers.is_empty() && !has_loss {
        recipe.distill.loss = peers::objective();
    }
    Ok(recipe)
}

fn explain(document: &DeTable<'_>, error: &toml::de::Error) -> Problem {
    let mut path = error.span().map_or(Vec::new(), |span| path_of(document, &span));
    let message = match Refusal::of(error.message()) {
        Refusal::Key { name, valid } => {
            if path.last().is_none_or(|last| last != name) {
                path.push(name.into());
            }
            unknown("key", name, &table(&path), &valid)
        }
        Refusal::Variant { name, valid } => {
            let place = match path.last() {
                Some(key) if key.parse::<usize>().is_err() => {
                    format!("{key} {}", table(&path))
                }
                _ => table(&path),
            };
            unknown("value", name, &format!("for {place}"), &valid)
        }
        Refusal::Missing { name } => {
            path.push(name.into());
            format!("key \"{name}\" is missing {}", table(&path))
        }
        Refusal::Other(message) => match path.last() {
            Some(key) => format!("{key} {}: {}", table(&path), plain(message)),
            None => plain(message),
        },
    };
    Problem { path, line: None, message }
}

/// What serde says, taken apart. Its texts are no interface; tests hold them in place.
enum Refusal<'a> {
    Key { name: &'a str, valid: Vec<&'a str> },
    Variant { name: &'a str, valid: Vec<&'a str> },
    Missing { name: &'a str },
    Other(&'a str),
}

impl<'a> Refusal<'a> {
    fn of(message: &'a str) -> Self {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (name, valid) = match quoted.split_first() {
            Some((&name, valid)) => (name, valid.to_vec()),
            None => return Self::Other(message),
        };
        if message.starts_with("unknown field ") {
            Self::Key { name, valid }
        } else if message.starts_with("unknown variant ") {
            Self::Variant { name, valid }
        } else if message.starts_with("missing field ") {
            Self::Missing { name }
        } else {
            Self::Other(message)
        }
    }
}

/// Serde's type errors in a recipe's own words.
fn plain(message: &str) -> String {
    let replaced = [
        ("invalid type: ", "expected another type, found "),
        ("invalid value: ", "out of range, found "),
        ("invalid length ", "found a list of length "),
        ("expected usize", "expected a whole number from 0 on"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("a sequence", "a list"),
        ("sequence", "list"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected text in quotes"),
        ("expected a boolean", "expected true or false"),
        ("expected struct ", "expected a table for "),
    ];
    replaced.iter().fold(message.to_string(), |text, (from, to)| text.replace(from, to))
}

/// `in [distill.optimizer]`: the table that holds the last key of `path`.
fn table(path: &[String]) -> String {
    let parents: Vec<&str> =
        path.iter().rev().skip(1).rev().map(String::as_str).filter(|k| !is_index(k)).collect();
    if parents.is_empty() { "at the top".into() } else { format!("in [{}]", parents.join(".")) }
}

fn is_index(key: &str) -> bool {
    key.parse::<usize>().is_ok()
}

/// Keys down to the innermost key or value that holds `span`; empty when there is none.
fn path_of(table: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    for (key, value) in table {
        let inner = path_in_value(value.get_ref(), span);
        if !inner.is_empty() || holds(&key.span(), span) || holds(&value.span(), span) {
            return [vec![key.get_ref().to_string()], inner].concat();
        }
    }
    Vec::new()
}

fn path_in_value(value: &DeValue<'_>, span: &Range<usize>) -> Vec<String> {
    match value {
        DeValue::Table(table) => path_of(table, span),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = path_in_value(item.get_ref(), span);
                if !inner.is_empty() || holds(&item.span(), span) {
                    return [vec![index.to_string()], inner].concat();
                }
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Where the deepest key of `path` stands that the document has.
fn locate(table: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == first)?;
    locate_in_value(value.get_ref(), rest).or_else(|| Some(key.span()))
}

fn locate_in_value(value: &DeValue<'_>, path: &[String]) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => locate(table, path),
        DeValue::Array(items) => {
            let (first, rest) = path.split_first()?;
            let item = items.get(first.parse::<usize>().ok()?)?;
            locate_in_value(item.get_ref(), rest).or_else(|| Some(item.span()))
        }
        _ => None,
    }
}

/// Lines count from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}
