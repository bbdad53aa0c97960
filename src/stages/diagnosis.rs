//! What to write into the recipe so that a teacher that guesses does better.

use anyhow::Result;
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::best;
use hipflask_distill::teacher::diagnose::{Guess, class_order, guesses};
use hipflask_distill::teacher::{Channels, Placement};
use hipflask_runtime::input::Preprocess;

use super::scored::Scored;
use crate::recipe::teachers::FileTable;

/// Where a teacher's file is declared.
pub struct Source<'a> {
    /// Its keys.
    pub table: &'a FileTable,
    /// Their place, as `[teacher]`.
    pub place: &'a str,
}

/// The end of the sentence about a teacher whose accuracy, `accuracy`, is too low.
pub fn advice(
    scored: &Scored,
    accuracy: f64,
    data: &DataSet,
    source: Option<&Source<'_>>,
) -> Result<String> {
    let Some(source) = source else {
        return Ok("train it for longer, and check that labels and samples belong together".into());
    };
    let labels = data.test.labels.as_deref().unwrap_or_default();
    if let Some(order) = class_order(&scored.logits, labels) {
        return Ok(other_classes(scored, &order, labels, source));
    }
    let found: Vec<String> = guesses(scored.teacher.as_ref(), data, &data.test, accuracy)?
        .iter()
        .filter_map(|guess| {
            let keys = keys(guess, scored, data, source.table)?;
            Some(format!("{keys} ({:.2} % on {} of them)", guess.accuracy * 100.0, guess.samples))
        })
        .collect();
    if found.is_empty() {
        return Ok(format!(
            "no usual range, mean and std and no other order of its channels or classes made it \
             better: check that {} gives it its samples as it was trained with them",
            source.place
        ));
    }
    Ok(format!("in {} it does better with {}", source.place, found.join("; or ")))
}

/// Advice for a teacher that has the classes in the order `order`, relative to what it says now.
fn other_classes(scored: &Scored, order: &[usize], labels: &[u32], source: &Source<'_>) -> String {
    let rows = scored.logits.rows().zip(labels);
    let right = rows.filter(|(row, label)| order.get(best(row)) == Some(&(**label as usize)));
    let share = right.count() as f64 / labels.len().max(1) as f64 * 100.0;
    let order: Vec<usize> = match &source.table.class_order {
        Some(now) => now.iter().filter_map(|&class| order.get(class).copied()).collect(),
        None => order.to_vec(),
    };
    format!(
        "it has its classes in another order: {share:.2} % with class_order = {order:?} in {}",
        source.place
    )
}

/// The keys that make a teacher see its samples as `guess` says; `None` where there are none.
fn keys(guess: &Guess, scored: &Scored, data: &DataSet, table: &FileTable) -> Option<String> {
    let now = scored.teacher.preprocess().unwrap_or(&data.preprocess);
    let mut keys = Vec::new();
    if *now != Preprocess::Image(guess.preprocess.clone()) {
        let own = &guess.preprocess;
        keys.push(format!("range = {:?}, mean = {:?}, std = {:?}", own.range, own.mean, own.std));
    }
    if guess.order.reversed {
        keys.push(match table.channels.unwrap_or_default() {
            Channels::Rgb => "channels = \"bgr\"".into(),
            Channels::Bgr => "channels = \"rgb\"".into(),
        });
    }
    if guess.order.channels_last {
        if table.layout == Some(Placement::Nhwc) {
            return None;
        }
        keys.push("layout = \"nhwc\"".into());
    }
    Some(keys.join(", "))
}
