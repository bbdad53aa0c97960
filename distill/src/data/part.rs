//! Samples of one source, and how those of several become one.

use super::{Samples, Split};
use crate::suggest::nearest;
use crate::{Error, ErrorKind, Result};

/// What one source holds of the training or the test samples.
pub(super) struct Part {
    /// The samples.
    pub(super) split: Split,
    /// Names of the classes that its labels number; `None` where the files know numbers only.
    pub(super) classes: Option<Vec<String>>,
    /// What was left out, and why.
    pub(super) skipped: Vec<String>,
}

impl From<Split> for Part {
    fn from(split: Split) -> Self {
        Self { split, classes: None, skipped: Vec::new() }
    }
}

impl Part {
    /// All samples but the first `skip`.
    pub(super) fn without_first(self, skip: usize) -> Result<Self> {
        let samples = self.split.len();
        if skip == 0 {
            return Ok(self);
        }
        if skip >= samples {
            return Err(wrong("data.skip", format!("leaves out {skip} samples of {samples}")));
        }
        let left: Vec<usize> = (skip..samples).collect();
        Ok(Self { split: self.split.select(&left), ..self })
    }

    /// The samples of `parts` one after another; `None` of none.
    pub(super) fn joined(parts: Vec<Self>) -> Result<Option<Self>> {
        let named: Vec<&String> =
            parts.iter().filter_map(|p| p.classes.as_ref()).flatten().collect();
        let classes = (!named.is_empty()).then(|| sorted(named));
        let skipped = parts.iter().flat_map(|part| part.skipped.clone()).collect();
        let split = merged(parts, classes.as_deref().unwrap_or_default())?;
        Ok(split.map(|split| Self { split, classes, skipped }))
    }
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = names.into_iter().collect();
    names.into_iter().cloned().collect()
}

/// The samples of `parts` one after another, their classes as places in `names`; `None` of none.
///
/// # Panics
///
/// When a part's class is not among `names`.
pub(super) fn merged(parts: Vec<Part>, names: &[String]) -> Result<Option<Split>> {
    let mut whole: Option<Split> = None;
    for Part { mut split, classes, .. } in parts {
        if let (Some(classes), Some(labels)) = (&classes, &mut split.labels) {
            let place = |class: &String| names.iter().position(|name| name == class);
            let places: Option<Vec<usize>> = classes.iter().map(place).collect();
            let places = places.expect("the names hold every part's classes");
            for label in labels {
                *label = places[*label as usize] as u32;
            }
        }
        whole = Some(match whole {
            None => split,
            Some(whole) => followed(whole, split)?,
        });
    }
    Ok(whole)
}

fn followed(Split { mut samples, labels }: Split, more: Split) -> Result<Split> {
    let labels = match (labels, more.labels) {
        (Some(labels), Some(more)) => Some([labels, more].concat()),
        (None, None) => None,
        _ => {
            let what = "one source has labels, another has none: give labels to all or to none";
            return Err(wrong("data", what));
        }
    };
    samples.append(more.samples).map_err(|more| differ(&samples, &more))?;
    Ok(Split { samples, labels })
}

fn differ(one: &Samples, other: &Samples) -> Error {
    let what = format!(
        "the sources differ: {} and {}; images become equal by resize = [h, w] and channels = 1 or 3",
        one.describe(),
        other.describe()
    );
    wrong("data", what)
}

/// Names of all classes of training and test samples: those given, those of the files, or one for
/// each number up to the largest label.
pub(super) fn class_names(given: &[String], parts: &[Vec<Part>; 2]) -> Result<Vec<String>> {
    let all = || parts.iter().flatten();
    let numbers = all().filter(|part| part.classes.is_none());
    let highest = numbers.filter_map(|part| part.split.labels.as_ref()).flatten().max().copied();
    let [train, test] = [0, 1].map(|i| {
        let classes = parts[i].iter().filter_map(|part| part.classes.as_ref());
        sorted(classes.flatten())
    });
    let named = !train.is_empty() || !test.is_empty();
    if !given.is_empty() {
        known("data.train", &train, given, "data.labels")?;
        known("data.test", &test, given, "data.labels")?;
        if !train.is_empty() && parts[0].iter().all(|part| part.classes.is_some()) {
            known("data.labels", given, &train, "the training samples")?;
        }
    }
    match (given.len(), highest) {
        (0, None) if named && train.is_empty() => Ok(test),
        (0, None) if named => {
            if !test.is_empty() {
                known("data.test", &test, &train, "the training samples")?;
                known("data.train", &train, &test, "the test samples")?;
            }
            Ok(train)
        }
        (0, None) => Err(wrong(
            "data.labels",
            "the files have no labels: name the classes with labels = [\"…\", …]",
        )),
        (0, Some(_)) if named => Err(wrong(
            "data.labels",
            "some files name classes, others number them: say which is which with labels = [\"…\", \
             …], in the order of the numbers",
        )),
        (0, Some(highest)) => Ok((0..=highest).map(|class| class.to_string()).collect()),
        (names, Some(highest)) if highest as usize >= names => {
            let what = format!(
                "{names} names, but the files have class {highest}: name {} classes",
                highest + 1
            );
            Err(wrong("data.labels", what))
        }
        _ => Ok(given.to_vec()),
    }
}

/// Fails with the first of `classes` that is not among `names`, those of `whose`.
fn known(at: &str, classes: &[String], names: &[String], whose: &str) -> Result<()> {
    let Some(strange) = classes.iter().find(|class| !names.contains(class)) else { return Ok(()) };
    let hint = match nearest(strange, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", names.join(", ")),
    };
    let what = format!("has class {strange:?}, which is not among those of {whose}: {hint}");
    Err(wrong(at, what))
}

fn wrong(at: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, at, message)
}
