//! Attributes of nodes, with the numbers of `AttributeProto.AttributeType`.

use super::super::proto::AttributeProto;

const FLOAT: i32 = 1;
const INT: i32 = 2;
const INTS: i32 = 7;

fn of(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type, ..Default::default() }
}

/// A number.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..of(name, FLOAT) }
}

/// A whole number.
pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..of(name, INT) }
}

/// Sizes or dimensions.
pub(super) fn sizes(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&v| v as i64).collect();
    AttributeProto { ints, ..of(name, INTS) }
}
