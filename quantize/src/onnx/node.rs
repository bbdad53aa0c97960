//! One ONNX node: its inputs and attributes, typed.

use hipflask_runtime::{Error, ErrorKind, Result};

use super::proto::{AttributeProto, NodeProto, TensorProto};

/// A node to import.
#[derive(Clone, Copy)]
pub(super) struct OnnxNode<'a> {
    pub(super) proto: &'a NodeProto,
}

impl<'a> OnnxNode<'a> {
    /// The operator's name.
    pub(super) fn op(self) -> &'a str {
        &self.proto.op_type
    }

    /// The node's name, or that of its output, for names and messages.
    pub(super) fn name(self) -> &'a str {
        match self.proto.name.as_str() {
            "" => self.proto.output.first().map_or(self.op(), String::as_str),
            name => name,
        }
    }

    /// Input `index`; `None` where it is left out.
    pub(super) fn input(self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Input `index`, which the operator must have.
    pub(super) fn required(self, index: usize) -> Result<&'a str> {
        self.input(index).ok_or_else(|| fault(format!("input {index} is missing")))
    }

    /// The first output.
    pub(super) fn output(self) -> Result<&'a str> {
        let first = self.proto.output.first().map(String::as_str);
        first.filter(|name| !name.is_empty()).ok_or_else(|| fault("has no output"))
    }

    fn attribute(self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    /// An integer attribute, or its default.
    pub(super) fn int(self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    /// A float attribute, or its default.
    pub(super) fn float(self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f)
    }

    /// A text attribute, or its default.
    pub(super) fn text(self, name: &str, default: &'static str) -> &'a str {
        self.attribute(name).map_or(default, |a| std::str::from_utf8(&a.s).unwrap_or("?"))
    }

    /// A list of integers; `None` where it is left out.
    pub(super) fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A list of floats; `None` where it is left out.
    pub(super) fn floats(self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// A tensor; `None` where it is left out.
    pub(super) fn tensor(self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// Whether the attribute is there.
    pub(super) fn has(self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// `N` sizes from a list attribute, `default` each where it is left out.
    pub(super) fn sizes<const N: usize>(self, name: &str, default: usize) -> Result<[usize; N]> {
        match self.ints(name) {
            None => Ok([default; N]),
            Some(values) => sizes(values).ok_or_else(|| {
                fault(format!(
                    "{name} = {values:?} where {N} sizes are needed: only images of two \
                     dimensions are supported, and no negative padding"
                ))
            }),
        }
    }

    /// An error unless the integer attribute is left out or has the value `only`.
    pub(super) fn only(self, name: &str, only: i64) -> Result<()> {
        match self.int(name, only) {
            found if found == only => Ok(()),
            found => Err(unsupported(format!("{name} = {found}; only {only} is supported"))),
        }
    }
}

/// `N` sizes, if there are as many and none is negative.
pub(super) fn sizes<const N: usize>(values: &[i64]) -> Option<[usize; N]> {
    let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    sizes?.try_into().ok()
}

/// The file contradicts itself or ONNX's specification.
pub(super) fn fault(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Graph, "", message)
}

/// Valid ONNX that cannot become a hipflask network; the message ends with the remedy.
pub(super) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, "", message)
}
