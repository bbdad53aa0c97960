//! The best classes of an inference as a line of text or JSON, without allocating for each.

use std::io::Write;

use hipflask_runtime::{Error, ErrorKind, Model, Result, Session};
use serde::Serialize;

use crate::Flags;

#[derive(Serialize)]
struct Prediction<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
    top: &'a [Class<'a>],
}

#[derive(Clone, Copy, Serialize)]
struct Class<'a> {
    index: usize,
    label: &'a str,
    score: f32,
}

/// A name for each class; of its number where the model has none.
pub(crate) fn labels(model: &Model, session: &Session) -> Vec<String> {
    let classes = session.outputs().first().map_or(0, |port| port.shape.elements());
    let known = &model.card().labels;
    let label = |class| known.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
    (0..classes).map(label).collect()
}

/// Ranks scores; its buffers are used again.
pub(crate) struct Ranking<'a> {
    labels: &'a [String],
    most: usize,
    json: bool,
    order: Vec<usize>,
    top: Vec<Class<'a>>,
    line: Vec<u8>,
}

impl<'a> Ranking<'a> {
    /// For as many classes as there are `labels`.
    pub(crate) fn new(labels: &'a [String], flags: Flags) -> Result<Self> {
        if flags.top == 0 {
            let what = "of no class nothing can be said: give a number from 1";
            return Err(Error::new(ErrorKind::Input, "--top 0", what));
        }
        Ok(Self {
            labels,
            most: flags.top,
            json: flags.json,
            order: Vec::new(),
            top: Vec::new(),
            line: Vec::new(),
        })
    }

    /// One line with the classes of the highest `scores`, best first, of equals the first; a place in
    /// the file is named as `file:at`.
    pub(crate) fn line(&mut self, file: &str, at: Option<usize>, scores: &[f32]) -> &[u8] {
        let Self { labels, most, json, order, top, line } = self;
        order.clear();
        order.extend(0..scores.len());
        // Stable sorting would allocate.
        order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        top.clear();
        top.extend(order.iter().zip(0..*most).map(|(&index, _)| {
            let label = labels.get(index).map_or("", String::as_str);
            Class { index, label, score: scores[index] }
        }));
        line.clear();
        // Writing into memory does not fail.
        if *json {
            let _ = serde_json::to_writer(&mut *line, &Prediction { file, at, top });
        } else {
            let _ = write!(line, "{file}");
            if let Some(at) = at {
                let _ = write!(line, ":{at}");
            }
            line.push(b':');
            for Class { index, label, score } in &*top {
                let _ = write!(line, "  {index} {label} ({score:.3})");
            }
        }
        line.push(b'\n');
        line
    }
}
