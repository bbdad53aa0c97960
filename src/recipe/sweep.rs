//! `--sweep temperature=1,2,4,8`: the recipes of a grid of values.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};
use toml::Value;

use super::Recipe;
use super::set::Assignment;

/// One recipe of a sweep.
pub struct Cell {
    /// Swept keys, as they were written, with this recipe's values.
    pub values: Vec<(String, String)>,
    /// The recipe.
    pub recipe: Recipe,
}

/// One `--sweep`.
struct Sweep {
    key: String,
    /// The key from the recipe's root.
    path: String,
    values: Vec<String>,
}

impl Recipe {
    /// The recipes of all combinations of `sweeps`, each `KEY=VALUE,VALUE,…`, the last of them
    /// changing fastest; `path` and `sets` as for [`Recipe::load`].
    ///
    /// A key is written from the recipe's root (`teacher.epochs`), or as one of `[distill]`, or as
    /// one that a single term of `distill.loss` has.
    pub fn sweep(path: Option<&Path>, sets: &[String], sweeps: &[String]) -> Result<Vec<Cell>> {
        let base = Value::try_from(Self::load(path, sets)?)?;
        let sweeps: Vec<Sweep> =
            sweeps.iter().map(|text| Sweep::parse(text, &base)).collect::<Result<_>>()?;
        let mut paths: Vec<&str> = sweeps.iter().map(|sweep| sweep.path.as_str()).collect();
        paths.sort_unstable();
        if let Some((twice, _)) = paths.iter().zip(paths.iter().skip(1)).find(|(a, b)| a == b) {
            bail!("--sweep: {twice} is swept twice: list all its values in one --sweep");
        }
        let mut grid = vec![Vec::new()];
        for sweep in &sweeps {
            let longer = |old: &Vec<_>| {
                let old = old.clone();
                sweep.values.iter().map(move |value| [&old[..], &[(sweep, value)]].concat())
            };
            grid = grid.iter().flat_map(longer).collect();
        }
        let cell = |values: Vec<(&Sweep, &String)>| {
            let mut assignments = Assignment::parse_all(sets)?;
            assignments.extend(values.iter().map(|(sweep, value)| {
                let text = format!("--sweep {}={value}", sweep.key);
                Assignment::new(text, &sweep.path, value)
            }));
            let recipe = Self::load_with(path, &assignments)?;
            let values = values.into_iter().map(|(s, value)| (s.key.clone(), value.clone()));
            Ok(Cell { values: values.collect(), recipe })
        };
        grid.into_iter().map(cell).collect()
    }
}

impl Sweep {
    fn parse(text: &str, recipe: &Value) -> Result<Self> {
        let parts = text.split_once('=').map(|(key, values)| (key.trim(), split(values)));
        let Some((key, values)) = parts.filter(|(key, values)| {
            !key.split('.').any(str::is_empty) && !values.iter().any(String::is_empty)
        }) else {
            bail!("--sweep {text}: write KEY=VALUE,VALUE,… as temperature=1,2,4");
        };
        if let Some(twice) = values.iter().find(|v| values.iter().filter(|w| w == v).count() > 1) {
            bail!("--sweep {text}: {twice} is listed twice");
        }
        let path = full_path(key, recipe)?;
        if path == "seed" || path == "name" {
            bail!("--sweep {text}: {path} is no setting to choose; --seeds N repeats each run");
        }
        Ok(Self { key: key.into(), path, values })
    }
}

/// The key that `key` stands for, from the root of `recipe`.
fn full_path(key: &str, recipe: &Value) -> Result<String> {
    let has = |table: &Value, key: &str| table.as_table().is_some_and(|t| t.contains_key(key));
    let first = key.split('.').next().unwrap_or_default();
    let Some(distill) = recipe.get("distill").filter(|_| !has(recipe, first)) else {
        return Ok(key.into());
    };
    let terms = distill.get("loss").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let with_key: Vec<String> = (0..terms.len())
        .filter(|&i| !has(distill, first) && has(&terms[i], first))
        .map(|i| format!("distill.loss.{i}.{key}"))
        .collect();
    match &with_key[..] {
        [] => Ok(format!("distill.{key}")),
        [path] => Ok(path.clone()),
        paths => {
            bail!("--sweep {key}: several terms of the loss have that key: {}", paths.join(", "))
        }
    }
}

/// `text` at its commas, but for those within brackets, braces or quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0_usize, None);
    for c in text.chars() {
        match (c, quote) {
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_string()).collect()
}

impl Cell {
    /// `temperature=4, lr=0.01`.
    pub fn describe(&self) -> String {
        let pairs = self.values.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(", ")
    }

    /// A folder for it that depends on nothing but keys and values, so that a sweep can be resumed
    /// with more of them: `sweep-temperature=4,lr=0.01`.
    pub fn folder(&self) -> String {
        let text = self.describe().replace(", ", ",");
        let plain = |c: char| c.is_ascii_alphanumeric() || "=,.-_+".contains(c);
        if text.len() <= 100 && text.chars().all(plain) {
            return format!("sweep-{text}");
        }
        // What no file system's name may hold goes; the digest keeps such names apart.
        let kept: String = text.chars().filter(|&c| plain(c)).take(60).collect();
        let digest = Sha256::digest(&text);
        let mut name = format!("sweep-{kept}-");
        for byte in &digest[..4] {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Recipe, split};

    fn cells(sweeps: &[&str]) -> anyhow::Result<Vec<super::Cell>> {
        let sweeps: Vec<String> = sweeps.iter().map(ToString::to_string).collect();
        Recipe::sweep(None, &["distill.epochs=3".into()], &sweeps)
    }

    fn error(sweep: &str) -> String {
        cells(&[sweep]).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn several_sweeps_make_a_grid_with_a_folder_each() {
        let cells = cells(&["temperature=1,4", "optimizer.lr=1e-3, 3e-3"]).unwrap();
        let names: Vec<String> = cells.iter().map(super::Cell::folder).collect();
        assert_eq!(
            names,
            [
                "sweep-temperature=1,optimizer.lr=1e-3",
                "sweep-temperature=1,optimizer.lr=3e-3",
                "sweep-temperature=4,optimizer.lr=1e-3",
                "sweep-temperature=4,optimizer.lr=3e-3",
            ]
        );
        let recipe = &cells[1].recipe;
        assert_eq!(
            (recipe.distill.epochs, recipe.distill.optimizer.lr().to_bits()),
            (3, 3e-3_f64.to_bits())
        );
        let loss = serde_json::to_value(&recipe.distill.loss).unwrap();
        assert_eq!(loss[0]["temperature"], 1.0);
    }

    #[test]
    fn keys_are_full_or_of_distill_or_of_the_one_loss_that_has_them() {
        let of = |sweep: &str| cells(&[sweep]).unwrap().swap_remove(0).recipe;
        assert_eq!(of("teacher.epochs=7").teacher.epochs, 7);
        assert_eq!(of("batch_size=16").distill.batch_size, 16);
        assert_eq!(of("clip_norm=2.5").distill.clip_norm, Some(2.5));
        assert_eq!(of("student.width=4").student.width, Some(4));
        let losses = r#"loss=[{kind="kd", temperature=2.0},{kind="mse"}],[{kind="dkd"}]"#;
        let cells = cells(&[losses]).unwrap();
        assert_eq!(cells.iter().map(|c| c.recipe.distill.loss.len()).collect::<Vec<_>>(), [2, 1]);
        let [a, b] = [cells[0].folder(), cells[1].folder()];
        assert!(a.starts_with("sweep-loss=kind=kd,temperature=2.0,kind=mse-"), "{a}");
        assert!(b.starts_with("sweep-loss=kind=dkd-"), "{b}");
    }

    #[test]
    fn what_cannot_be_swept_is_named() {
        for (sweep, expected) in [
            ("temperature", "--sweep temperature: write KEY=VALUE,VALUE"),
            ("temperature=", "--sweep temperature=: write KEY=VALUE,VALUE"),
            ("temperature=1,,2", "--sweep temperature=1,,2: write KEY=VALUE"),
            ("temperature=1,1", "--sweep temperature=1,1: 1 is listed twice"),
            (
                "weight=1,2",
                "--sweep weight: several terms of the loss have that key: distill.loss.0.weight, distill.loss.1.weight",
            ),
            (
                "epoch=1,2",
                "--sweep epoch=1: unknown key \"epoch\" in [distill]: did you mean \"epochs\"?",
            ),
            ("epochs=1,0", "--sweep epochs=0: distill.epochs is 0: it must be from 1"),
            ("seed=1,2", "--sweep seed=1,2: seed is no setting to choose; --seeds N"),
        ] {
            let error = error(sweep);
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
        let twice = cells(&["temperature=1", "distill.loss.0.temperature=2"]).err().unwrap();
        assert!(twice.to_string().contains("distill.loss.0.temperature is swept twice"), "{twice}");
    }

    #[test]
    fn commas_within_brackets_and_quotes_do_not_split() {
        assert_eq!(
            split(r#"[1, 2], "a,b" ,{x = ["}", 1]},4"#),
            ["[1, 2]", r#""a,b""#, r#"{x = ["}", 1]}"#, "4"]
        );
    }
}
