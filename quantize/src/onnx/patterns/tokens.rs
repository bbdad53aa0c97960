//! Channel shuffles, embeddings, and means without padding.

use std::collections::BTreeSet;

use super::net::{Net, both_orders};
use super::{Found, Pattern};
use crate::onnx::node::OnnxNode;

/// Reshape to groups, transpose, reshape (Zhang et al. 2018).
pub(super) fn shuffle<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let mut inner = BTreeSet::new();
    let turns = net.made_by(last.input(0)?, "Transpose", &mut inner)?;
    if turns.ints("perm")? != [0, 2, 1, 3, 4] {
        return None;
    }
    let groups = net.made_by(turns.input(0)?, "Reshape", &mut inner)?;
    let (x, split, joined) = (groups.input(0)?, groups.input(1)?, last.input(1)?);
    Some((Pattern::Shuffle { x, split, joined }, inner))
}

/// `Gather` of rows by ids that come as floats.
pub(super) fn embedding<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let (weight, ids) = (last.input(0)?, last.input(1)?);
    let &[rows, _] = net.dims(weight)? else { return None };
    if last.int("axis", 0) != 0 {
        return None;
    }
    let mut inner = BTreeSet::new();
    let mut ids = net.made_by(ids, "Cast", &mut inner)?.input(0)?;
    if let Some(clip) = net.made_by(ids, "Clip", &mut inner) {
        let bounds = (net.number(clip.input(1)?)?, net.number(clip.input(2)?)?);
        // Those that the runtime keeps to as well.
        if bounds != (0.0, rows.saturating_sub(1) as f32) {
            return None;
        }
        ids = clip.input(0)?;
    }
    if let Some(floor) = net.made_by(ids, "Floor", &mut inner) {
        ids = floor.input(0)?;
    }
    Some((Pattern::Embedding { ids, weight }, inner))
}

/// The sum of the tokens whose ids are not 0, divided by how many these are.
pub(super) fn mean<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let mut inner = BTreeSet::new();
    if last.op() != "Div" {
        return None;
    }
    let sum = net.made_by(last.input(0)?, "ReduceSum", &mut inner)?;
    if net.axes(sum, 13)? != [1] || sum.int("keepdims", 1) != 0 {
        return None;
    }
    let kept = net.made_by(sum.input(0)?, "Where", &mut inner)?;
    let mask = net.made_by(kept.input(0)?, "Unsqueeze", &mut inner)?;
    let ids = used(net, mask.input(0)?, &mut inner)?;
    let divisor = net.made_by(last.input(1)?, "Max", &mut inner)?;
    let (count, least) = (divisor.input(0)?, net.number(divisor.input(1)?)?);
    let zero = net.number(kept.input(2)?)?;
    let same = counted(net, count, &mut inner)? == ids;
    (same && (least, zero) == (1.0, 0.0))
        .then(|| Some((Pattern::MeanTokens { x: kept.input(1)?, ids }, inner)))?
}

/// The ids of which `value` says whether they are not 0.
pub(super) fn used<'a>(
    net: &Net<'a, '_>,
    value: &str,
    inner: &mut BTreeSet<usize>,
) -> Option<&'a str> {
    let not = net.made_by(value, "Not", inner)?;
    let padding = net.made_by(not.input(0)?, "Equal", inner)?;
    both_orders(padding)?
        .into_iter()
        .find_map(|(ids, zero)| (net.number(zero)? == 0.0).then_some(ids))
}

/// The ids of which `value` counts those that are not 0.
pub(super) fn counted<'a>(
    net: &Net<'a, '_>,
    value: &str,
    inner: &mut BTreeSet<usize>,
) -> Option<&'a str> {
    let sum = net.made_by(value, "ReduceSum", inner)?;
    let ones = net.made_by(sum.input(0)?, "Cast", inner)?;
    used(net, ones.input(0)?, inner)
}
