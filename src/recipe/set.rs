//! `--set distill.epochs=5`: keys of a recipe from the command line.

use std::fmt;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::Recipe;
use super::parse::{Problem, parse};

/// One `--set`, or one value of a `--sweep`.
pub(super) struct Assignment {
    /// As it was written, with its flag.
    text: String,
    path: Vec<String>,
    value: Value,
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Assignment {
    /// Takes each `key.key=value` apart.
    pub(super) fn parse_all(sets: &[String]) -> Result<Vec<Self>> {
        sets.iter().map(|text| Self::parse(text)).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('=').map(|(path, value)| (path.trim(), value.trim()));
        let Some((path, value)) = parts.filter(|(path, _)| !path.split('.').any(str::is_empty))
        else {
            bail!("--set {text}: write KEY=VALUE with the key's whole path, as distill.epochs=5");
        };
        Ok(Self::new(format!("--set {text}"), path, value))
    }

    /// `path` becomes `value`; `text` is what the user wrote. A value that is no TOML is text.
    pub(super) fn new(text: String, path: &str, value: &str) -> Self {
        let value = match toml::from_str::<Table>(&format!("value = {value}")) {
            Ok(mut table) if table.len() == 1 => table.remove("value"),
            _ => None,
        }
        .unwrap_or_else(|| Value::String(value.into()));
        Self { text, path: path.split('.').map(Into::into).collect(), value }
    }

    /// Whether this chooses another kind of optimizer, schedule or loss.
    fn is_kind(&self) -> bool {
        self.path.last().is_some_and(|key| key == "kind")
    }

    /// The assignment that made `problem`, if one did.
    pub(super) fn to_blame<'a>(all: &'a [Self], problem: &Problem) -> Option<&'a Self> {
        let at = &problem.path;
        all.iter().rev().find(|a| a.path.starts_with(at) || at.starts_with(&a.path))
    }

    fn put(&self, root: &mut Value) -> Result<()> {
        let mut place = root;
        let (last, parents) = self.path.split_last().context("a path has at least one key")?;
        for key in parents {
            place = self.enter(place, key)?;
        }
        if self.is_kind() && self.enter(place, last)? != &self.value {
            // The other kind has other keys.
            *place = Value::Table(Table::new());
        }
        *self.enter(place, last)? = self.value.clone();
        Ok(())
    }

    /// The value under `key`; an empty table where there is none yet.
    fn enter<'a>(&self, place: &'a mut Value, key: &str) -> Result<&'a mut Value> {
        match place {
            Value::Table(table) => Ok(table.entry(key).or_insert_with(|| Table::new().into())),
            Value::Array(items) => {
                let count = items.len();
                key.parse().ok().and_then(|index: usize| items.get_mut(index)).with_context(|| {
                    format!("{self}: {key:?} is no place in a list of {count}, counted from 0")
                })
            }
            other => bail!("{self}: {key:?} is asked of {other}, which has no keys"),
        }
    }
}

/// `recipe` after `assignments`, those of a `kind` first: another kind starts with its defaults.
pub(super) fn apply(recipe: &Recipe, assignments: &[Assignment]) -> Result<Recipe> {
    let mut root = Value::try_from(recipe).context("the recipe cannot be written as TOML")?;
    let (kinds, others): (Vec<_>, Vec<_>) = assignments.iter().partition(|a| a.is_kind());
    for assignment in kinds.into_iter().chain(others) {
        assignment.put(&mut root)?;
    }
    let text = toml::to_string(&root).context("the recipe cannot be written as TOML")?;
    parse(&text).map_err(|problem| match Assignment::to_blame(assignments, &problem) {
        Some(assignment) => anyhow::anyhow!("{assignment}: {}", problem.message),
        None => anyhow::anyhow!("--set: {}", problem.message),
    })
}
