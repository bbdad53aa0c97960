//! A network that is a part of what was saved: `backbone.conv1.weight` beside a loss or a student.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use super::weights::Weights;

/// The tensors behind the one prefix under which all of `wanted` are; `weights` where they are there
/// without a prefix, or nowhere as a whole.
pub(super) fn within<'a>(weights: Weights<'a>, wanted: &[String]) -> Result<Weights<'a>, String> {
    let Some(first) = wanted.first() else { return Ok(weights) };
    let has_all =
        |prefix: &str| wanted.iter().all(|name| weights.contains_key(&format!("{prefix}{name}")));
    if has_all("") {
        return Ok(weights);
    }
    let prefixes = weights.keys().filter_map(|name| name.strip_suffix(first.as_str()));
    let mut prefixes: Vec<String> = prefixes
        .filter(|prefix| prefix.ends_with('.') && has_all(prefix))
        .map(Into::into)
        .collect();
    match (prefixes.pop(), &*prefixes) {
        (None, _) => Ok(weights),
        (Some(prefix), []) => Ok(weights
            .into_iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(&prefix)?.to_string(), entry)))
            .collect()),
        (Some(last), others) => Err(format!(
            "holds the network several times, as {} and {last}: save the one that is meant alone",
            others.join(", ")
        )),
    }
}
