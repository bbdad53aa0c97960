//! The constants that an importer knows: weights, shapes, and what nodes make of them.

use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::{Error, ErrorKind, Result};

use super::importer::{Constant, Importer};
use super::integers::Ints;
use super::node::{OnnxNode, fault, unsupported};
use super::proto::TensorProto;
use super::tensors::Floats;

impl<'a> Importer<'a> {
    /// The floats that input `index` of `node` names, which must be constant.
    pub(super) fn floats(&mut self, node: OnnxNode<'a>, index: usize) -> Result<Floats> {
        let name = node.required(index)?;
        match self.floats_named(name)? {
            Some(floats) => Ok(floats),
            None => Err(unsupported(format!(
                "input {index} ({name:?}) is computed; it must be a constant: fold constants \
                 before the export (onnxsim, or do_constant_folding = True)"
            ))),
        }
    }

    /// As [`Importer::floats`]; `None` where the input is left out.
    pub(super) fn optional_floats(
        &mut self,
        node: OnnxNode<'a>,
        index: usize,
    ) -> Result<Option<Floats>> {
        match node.input(index) {
            Some(_) => self.floats(node, index).map(Some),
            None => Ok(None),
        }
    }

    /// The floats that are called `name`, if they are a constant.
    pub(super) fn optional_constant(&mut self, name: &str) -> Result<Option<Floats>> {
        self.floats_named(name)
    }

    fn floats_named(&mut self, name: &str) -> Result<Option<Floats>> {
        let floats = match self.constants.get(name) {
            Some(Constant::Stored(tensor)) => self.tensors.floats(tensor)?,
            Some(Constant::Floats(floats)) => floats.clone(),
            Some(Constant::Dequantized(integers)) => integers.floats(),
            Some(Constant::Ints(_) | Constant::Quantized(_)) => {
                return Err(fault(format!("{name:?} has integers where floats are needed")));
            }
            None => return Ok(None),
        };
        self.spend(floats.values.len())?;
        Ok(Some(floats))
    }

    /// Counts `elements` of weights; the same constant may be read by every node, so its copies
    /// count too.
    pub(super) fn spend(&mut self, elements: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(elements).ok_or_else(|| {
            let limit = LoadLimits::default().elements;
            Error::new(ErrorKind::Limit, "", format!("the weights have more than {limit} elements"))
        })?;
        Ok(())
    }

    /// The integers that input `index` of `node` names, which must be constant; `None` where the
    /// input is left out.
    pub(super) fn ints(&self, node: OnnxNode<'a>, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(name) = node.input(index) else { return Ok(None) };
        match self.constants.get(name) {
            Some(Constant::Stored(tensor)) => self.tensors.ints(tensor).map(Some),
            Some(Constant::Ints(ints)) => Ok(Some(ints.values.clone())),
            _ => Err(unsupported(format!(
                "input {index} ({name:?}) must be constant integers: export with fixed shapes and \
                 constant folding (onnxsim)"
            ))),
        }
    }

    /// The integers that are called `name`, if they are a constant and few.
    pub(super) fn integers(&self, name: &str) -> Option<Ints> {
        match self.constants.get(name)? {
            Constant::Stored(tensor) => {
                let dims = tensor.dims.iter().map(|&d| usize::try_from(d).ok());
                Ints::new(dims.collect::<Option<_>>()?, self.tensors.ints(tensor).ok()?).ok()
            }
            Constant::Ints(ints) => Some(ints.clone()),
            Constant::Floats(_) | Constant::Quantized(_) | Constant::Dequantized(_) => None,
        }
    }

    /// The constant floats that the only reader of `node`'s output adds to it, with their name, and
    /// that reader.
    pub(super) fn added_constant(
        &mut self,
        node: OnnxNode<'a>,
    ) -> Result<Option<(usize, &'a str, Floats)>> {
        let output = node.output()?;
        let Some((index, reader)) = self.only_reader(output) else { return Ok(None) };
        let other = match &reader.proto.input[..] {
            [a, b] if reader.op() == "Add" && a == output => b,
            [a, b] if reader.op() == "Add" && b == output => a,
            _ => return Ok(None),
        };
        Ok(self.floats_named(other)?.map(|floats| (index, other.as_str(), floats)))
    }

    /// The constant called `name`, if there is one.
    pub(super) fn constant(&self, name: &str) -> Option<&Constant<'a>> {
        self.constants.get(name)
    }

    /// The integers of a tensor of 8 or 32 bits.
    pub(super) fn small_ints(&mut self, tensor: &TensorProto) -> Result<Vec<i32>> {
        let values = self.tensors.small_ints(tensor)?;
        self.spend(values.len())?;
        Ok(values)
    }

    /// Makes `node` give the constant that it reads, if it reads one; says whether.
    pub(super) fn pass_constant(&mut self, node: OnnxNode<'a>) -> Result<bool> {
        let constant = self.constants.get(node.required(0)?).cloned();
        match constant {
            Some(constant) => self.bind_constant(node, constant).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes `constant` what `node` gives.
    pub(super) fn bind_constant(
        &mut self,
        node: OnnxNode<'a>,
        constant: Constant<'a>,
    ) -> Result<()> {
        let name = node.output()?;
        match self.constants.insert(name, constant) {
            None => Ok(()),
            Some(_) => Err(fault(format!("{name:?} is computed twice"))),
        }
    }
}
