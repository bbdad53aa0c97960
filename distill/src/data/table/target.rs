//! The column with the classes.

use std::collections::BTreeSet;

use hipflask_runtime::input::table::is_missing;

use super::{Kept, Part};
use crate::data::DataSpec;
use crate::{Error, ErrorKind, Result};

/// Most classes: more are numbers to be predicted, or names of the rows.
const MOST_CLASSES: usize = 1000;

/// Whether a text of the target's column can be a class, where `names` are given one of these, or the
/// place of one.
pub(super) fn check(text: &str, names: &[String]) -> Result<(), String> {
    if is_missing(text) {
        return Err("the class is missing".into());
    }
    if names.is_empty() || place(text, names).is_some() {
        return Ok(());
    }
    Err(format!("class {text:?} is none of data.labels ({})", names.join(", ")))
}

fn place(text: &str, names: &[String]) -> Option<usize> {
    let by_name = names.iter().position(|name| name == text);
    by_name.or_else(|| text.parse().ok().filter(|&place: &usize| place < names.len()))
}

/// The training and the test rows with their classes: places in `data.labels`, whole numbers from 0
/// on where all texts are such, or else the texts themselves.
pub(super) fn parts(kept: [Option<Kept>; 2], spec: &DataSpec) -> Result<[Option<Part>; 2]> {
    let texts = |kept: &Option<Kept>| -> BTreeSet<String> {
        let targets = kept.iter().filter_map(|kept| kept.targets.as_ref()).flatten();
        targets.cloned().collect()
    };
    let [train, test] = [texts(&kept[0]), texts(&kept[1])];
    let number = |text: &str| text.parse().ok().filter(|&class: &u32| class < MOST_CLASSES as u32);
    if !spec.labels.is_empty() {
        let label = |text: &str| place(text, &spec.labels).map_or(0, |place| place as u32);
        return Ok(kept.map(|kept| kept.map(|kept| labelled(kept, label, None))));
    }
    if train.iter().chain(&test).all(|text| number(text).is_some()) {
        let label = |text: &str| number(text).unwrap_or(0);
        return Ok(kept.map(|kept| kept.map(|kept| labelled(kept, label, None))));
    }
    let classes = train.len().max(test.len());
    if classes > MOST_CLASSES {
        let what = format!(
            "column {:?} has {classes} different texts: name the one that holds classes, at most \
             {MOST_CLASSES}",
            spec.table.target.as_deref().unwrap_or_default()
        );
        return Err(Error::new(ErrorKind::Data, "data.table.target", what));
    }
    let [first, second] = kept;
    let named = |kept: Kept, names: Vec<String>| {
        let label = |text: &str| names.iter().position(|n| n == text).map_or(0, |p| p as u32);
        labelled(kept, label, Some(names.clone()))
    };
    let test: Vec<String> = train.union(&test).cloned().collect();
    Ok([
        first.map(|kept| named(kept, train.into_iter().collect())),
        second.map(|kept| named(kept, test)),
    ])
}

fn labelled(kept: Kept, label: impl Fn(&str) -> u32, classes: Option<Vec<String>>) -> Part {
    let labels = kept.targets.as_ref().map(|texts| texts.iter().map(|text| label(text)).collect());
    kept.part(labels, classes)
}
