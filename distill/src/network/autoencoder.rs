//! `autoencoder`: the encoder of MLPerf Tiny's anomaly detector (Banbury et al. 2021) as a classifier.
//!
//! What is trained here ends in logits, so its decoder is left out: reconstruction has no labels
//! and no teacher's logits.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::Builder;
use super::names::Size;
use crate::Result;

/// The code is so many times narrower than the layers before it: 8 of 128.
const NARROWER: usize = 16;

/// `depth` linear layers of `width` units and one of a sixteenth, with batch norm and ReLU, and the
/// logits from that code.
pub(super) fn build(b: &mut Builder, input: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, classes, .. } = size;
    let mut x = input;
    if b.shape(x).len() > 2 {
        x = b.op("flatten", Op::Flatten, &[x])?;
    }
    for i in 0..=depth {
        let units = if i == depth { width.div_ceil(NARROWER) } else { width };
        x = b.linear(format!("encoder.{i}.linear"), x, units, false)?;
        x = b.batch_norm(format!("encoder.{i}.bn"), x)?;
        x = b.relu(format!("encoder.{i}.relu"), x)?;
    }
    b.linear("fc", x, classes, true)
}
