//! `mlp`: linear layers with ReLU between them.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::Builder;
use crate::Result;

/// `fc1`, `relu1`, …, the last linear layer giving the logits.
pub(super) fn build(
    b: &mut Builder,
    input: ValueId,
    hidden: &[usize],
    classes: usize,
) -> Result<ValueId> {
    let mut x = input;
    if b.shape(x).len() > 2 {
        x = b.op("flatten", Op::Flatten, &[x])?;
    }
    for (i, &size) in (1..).zip(hidden) {
        x = b.linear(format!("fc{i}"), x, size, true)?;
        x = b.relu(format!("relu{i}"), x)?;
    }
    b.linear(format!("fc{}", hidden.len() + 1), x, classes, true)
}
