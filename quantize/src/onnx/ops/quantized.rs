//! `QuantizeLinear` and `DequantizeLinear`: of values, and of constants.

use std::rc::Rc;

use hipflask_runtime::Result;
use hipflask_runtime::graph::Op;
use hipflask_runtime::quant::QuantParams;

use super::elementwise::axis;
use crate::onnx::importer::{Constant, Importer};
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::qdq::Integers;
use crate::onnx::tensors::data_type::{INT8, INT32, UINT8};

/// `QuantizeLinear` to int8 or uint8; of a value with one scale, of a constant with one or several.
pub(super) fn quantize<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    if importer.constant(node.required(0)?).is_some() {
        let floats = importer.floats(node, 0)?;
        let mut grid = Grid::of(importer, node, &floats.dims, None)?;
        grid.integers.quantize(&floats.values, &grid.zero_points, limits(grid.element)?);
        return importer.bind_constant(node, Constant::Quantized(Rc::new(grid.integers)));
    }
    let x = importer.value(node, 0)?;
    let params = Grid::of(importer, node, &[], None)?.params()?;
    let id = importer.emit_as(node.name(), Op::Quantize, &[x], [], Some(params))?;
    importer.bind(node.output()?, id)
}

/// `DequantizeLinear`, with the parameters of the `QuantizeLinear` before it.
pub(super) fn dequantize<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let name = node.required(0)?;
    match importer.constant(name).cloned() {
        Some(Constant::Stored(tensor)) => {
            let dims = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0));
            let dims: Vec<usize> = dims.collect();
            let mut grid = Grid::of(importer, node, &dims, Some(tensor.data_type))?;
            let stored = importer.small_ints(tensor)?;
            grid.integers.shift(stored, &grid.zero_points);
            importer.bind_constant(node, Constant::Dequantized(Rc::new(grid.integers)))
        }
        Some(Constant::Quantized(integers)) => {
            let grid = Grid::of(importer, node, &integers.dims, None)?;
            if !integers.same_grid(&grid.integers) {
                return Err(unsupported("has another scale than the QuantizeLinear before it"));
            }
            importer.bind_constant(node, Constant::Dequantized(integers))
        }
        Some(_) => Err(fault(format!("input 0 ({name:?}) is not quantized"))),
        None => {
            let x = importer.value(node, 0)?;
            let known = importer.params(x).ok_or_else(|| {
                fault(format!("input 0 ({name:?}) is computed in floats: nothing quantized it"))
            })?;
            let mut given = Grid::of(importer, node, &[], None)?.params()?;
            if node.input(2).is_none() {
                // 0 in whatever type the value has, as the node that quantized it.
                given.zero_point = known.zero_point;
            }
            if given != known {
                return Err(unsupported(format!(
                    "reads {given:?}, quantized as {known:?}: only equal scales and zero points are \
                     supported"
                )));
            }
            importer.emit(node, Op::Dequantize, &[x], [])?;
            Ok(())
        }
    }
}

/// Scales and zero points of a node.
struct Grid {
    /// Without values yet.
    integers: Integers,
    /// One, or as many as scales.
    zero_points: Vec<i32>,
    /// ONNX's type of the integers.
    element: i32,
}

impl Grid {
    /// Inputs 1 and 2 of `node`, for a constant of these dimensions, or a value where there are
    /// none; without zero point, `element` says the type.
    fn of<'a>(
        importer: &mut Importer<'a>,
        node: OnnxNode<'a>,
        dims: &[usize],
        element: Option<i32>,
    ) -> Result<Self> {
        if node.int("block_size", 0) != 0 {
            return Err(unsupported("scales of blocks; only one for a tensor or for a channel"));
        }
        let scales = importer.floats(node, 1)?.values;
        if let Some(scale) = scales.iter().find(|s| !(s.is_finite() && **s >= f32::MIN_POSITIVE)) {
            return Err(fault(format!("the scale {scale} must be positive and finite")));
        }
        let (zero_points, found) = match node.input(2) {
            None => (vec![0], node.int("output_dtype", 0)),
            Some(name) => match importer.constant(name).cloned() {
                Some(Constant::Stored(tensor)) => {
                    if tensor.data_type != INT32 {
                        limits(tensor.data_type)?;
                    }
                    (importer.small_ints(tensor)?, i64::from(tensor.data_type))
                }
                _ => {
                    return Err(unsupported(format!("the zero point {name:?} must be a constant")));
                }
            },
        };
        // ONNX's default is uint8.
        let found = i32::try_from(found).ok().filter(|&t| t != 0);
        let element = found.or(element).unwrap_or(UINT8);
        let axis = match scales.len() {
            1 => None,
            _ if dims.is_empty() => {
                return Err(unsupported(
                    "has a scale for each channel of a computed value; only weights may have several",
                ));
            }
            count => {
                let axis = axis(node.int("axis", 1), dims.len())?;
                if dims.get(axis) != Some(&count) {
                    return Err(fault(format!("{count} scales for dimension {axis} of {dims:?}")));
                }
                Some(axis)
            }
        };
        if zero_points.len() != 1 && zero_points.len() != scales.len() {
            return Err(fault("has not as many zero points as scales"));
        }
        let integers = Integers { dims: dims.to_vec(), values: Vec::new(), scales, axis };
        Ok(Self { integers, zero_points, element })
    }

    /// Of a value: in int8, to which uint8 is shifted.
    fn params(&self) -> Result<QuantParams> {
        let (&[scale], &[zero]) = (&self.integers.scales[..], &self.zero_points[..]) else {
            return Err(fault("has not one scale and one zero point"));
        };
        let shift = if self.element == UINT8 { 128 } else { 0 };
        limits(self.element)?;
        let zero = zero.checked_sub(shift).and_then(|z| i8::try_from(z).ok());
        let zero_point = zero.ok_or_else(|| fault("the zero point is beyond its type"))?;
        Ok(QuantParams { scale, zero_point })
    }
}

/// Smallest and largest integer of an element type.
fn limits(element: i32) -> Result<(i32, i32)> {
    match element {
        UINT8 => Ok((0, 255)),
        INT8 => Ok((-128, 127)),
        INT32 => Err(unsupported("quantizes to 32 bits; only int8 and uint8 are supported")),
        other => Err(unsupported(format!(
            "quantizes to ONNX's type {other}; only int8 and uint8 are supported: quantize with \
             activation_type and weight_type = QuantType.QInt8"
        ))),
    }
}
