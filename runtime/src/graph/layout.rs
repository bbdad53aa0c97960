//! From PyTorch's layout to the device's: the same network, image dimensions reordered.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, Layout, Op};
use crate::dtype::Shape;
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

const TO_NHWC: [usize; 4] = [0, 2, 3, 1];

impl Graph {
    /// The same network in [`Layout::Nhwc`].
    ///
    /// Convolution weights become `[o, kh, kw, i]`; a linear layer that reads a flattened image
    /// gets its columns reordered. What else reads a flattened image is refused.
    pub fn into_nhwc(mut self) -> Result<Self> {
        if self.layout == Layout::Nhwc {
            return Ok(self);
        }
        // For a value that is a flattened image: its [c, h, w].
        let mut flattened: Vec<Option<[usize; 3]>> = vec![None; self.values.len()];
        let shapes: Vec<Shape> = self.values.iter().map(|v| v.shape.clone()).collect();
        for node in &mut self.nodes {
            let x = node.inputs[0].0;
            match &mut node.op {
                Op::Conv2d { .. } => {
                    let name = format!("{}.weight", node.name);
                    permute(&mut self.tensors, &name, |t| t.transposed(TO_NHWC));
                }
                Op::Linear => {
                    if let Some([c, h, w]) = flattened[x] {
                        permute(&mut self.tensors, &format!("{}.weight", node.name), |t| {
                            columns_to_hwc(t, c, h, w)
                        });
                    }
                }
                Op::Flatten | Op::Reshape { .. } => {
                    let (from, to) = (&shapes[x], &shapes[node.output.0]);
                    match (from.dims::<4>(), to.len()) {
                        (Some([_, c, h, w]), 2) if c > 1 && h * w > 1 => {
                            flattened[node.output.0] = Some([c, h, w]);
                        }
                        (Some([_, c, h, w]), to)
                            if c > 1 && h * w > 1 || to == 4 && c * h * w > 1 =>
                        {
                            return Err(refused(&node.name, "reshapes an image"));
                        }
                        (None, 4) => return Err(refused(&node.name, "makes an image of a vector")),
                        _ => flattened[node.output.0] = flattened[x],
                    }
                    if let (Op::Reshape { shape }, 4) = (&mut node.op, to.len()) {
                        *shape = TO_NHWC.iter().map(|&a| to[a]).collect();
                    }
                }
                Op::Concat { axis } | Op::Slice { axis, .. } if shapes[x].len() == 4 => {
                    *axis = TO_NHWC.iter().position(|a| a == axis).unwrap_or(*axis);
                }
                Op::Activation { .. } | Op::Quantize | Op::Dequantize => {
                    flattened[node.output.0] = flattened[x];
                }
                Op::Add | Op::Mul if flattened[x] == flattened[node.inputs[1].0] => {
                    flattened[node.output.0] = flattened[x];
                }
                _ if node.inputs.iter().any(|id| flattened[id.0].is_some()) => {
                    return Err(refused(&node.name, "reads a flattened image"));
                }
                _ => {}
            }
        }
        if self.outputs.iter().any(|id| flattened[id.0].is_some()) {
            return Err(refused("graph outputs", "hands out a flattened image"));
        }
        for value in &mut self.values {
            if let Some(dims) = value.shape.dims::<4>() {
                value.shape = TO_NHWC.map(|a| dims[a]).into();
            }
        }
        self.layout = Layout::Nhwc;
        Ok(self)
    }
}

fn permute(
    tensors: &mut alloc::collections::BTreeMap<alloc::string::String, Tensor>,
    name: &str,
    change: impl FnOnce(&Tensor) -> Tensor,
) {
    if let Some(tensor) = tensors.get_mut(name) {
        *tensor = change(tensor);
    }
}

/// `[o, c·h·w]` to `[o, h·w·c]`.
fn columns_to_hwc(weight: &Tensor, c: usize, h: usize, w: usize) -> Tensor {
    let (rows, columns) = (weight.shape()[0], weight.shape()[1]);
    let image = weight.clone().reshaped([rows, c, h, w]).expect("a checked linear layer");
    image.transposed(TO_NHWC).reshaped([rows, columns]).expect("as many elements")
}

fn refused(node: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("node {node:?}"),
        format!(
            "{what}: its order of elements would change on the device; only a linear layer may read a flattened image"
        ),
    )
}
