//! Between PyTorch's layout and the device's: the same network, image dimensions reordered.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, Layout, Op};
use crate::dtype::Shape;
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

/// Where each dimension of an image in the other layout comes from.
const fn order(to: Layout) -> [usize; 4] {
    match to {
        Layout::Nhwc => [0, 2, 3, 1],
        Layout::Nchw => [0, 3, 1, 2],
    }
}

impl Graph {
    /// The same network in [`Layout::Nhwc`].
    ///
    /// Convolution weights become `[o, kh, kw, i]`; a linear layer that reads a flattened image
    /// gets its columns reordered. What else reads a flattened image is refused.
    pub fn into_nhwc(self) -> Result<Self> {
        self.reordered(Layout::Nhwc)
    }

    /// The same network in [`Layout::Nchw`], for other runtimes: what [`Graph::into_nhwc`] undoes.
    pub fn into_nchw(self) -> Result<Self> {
        self.reordered(Layout::Nchw)
    }

    fn reordered(mut self, to: Layout) -> Result<Self> {
        let from = self.layout;
        if from == to {
            return Ok(self);
        }
        let order = order(to);
        // For a value that is a flattened image: its dimensions behind the batch, as they were.
        let mut flattened: Vec<Option<[usize; 3]>> = vec![None; self.values.len()];
        let shapes: Vec<Shape> = self.values.iter().map(|v| v.shape.clone()).collect();
        // Whether the order of an image's elements depends on the layout.
        let ordered = |shape: &[usize]| {
            from.image(shape).is_some_and(|[h, w, c]| c > 1 && h.saturating_mul(w) > 1)
        };
        for node in &mut self.nodes {
            let x = node.inputs[0].0;
            match &mut node.op {
                Op::Conv2d { .. } => {
                    let name = format!("{}.weight", node.name);
                    permute(&mut self.tensors, &name, |t| t.transposed(order));
                }
                Op::Linear => {
                    if let Some(image) = flattened[x] {
                        permute(&mut self.tensors, &format!("{}.weight", node.name), |t| {
                            columns_reordered(t, image, order)
                        });
                    }
                }
                Op::Flatten | Op::Reshape { .. } => {
                    let (before, after) = (&shapes[x], &shapes[node.output.0]);
                    match (before.dims::<4>(), after.len()) {
                        (Some([_, image @ ..]), 2) if ordered(before) => {
                            flattened[node.output.0] = Some(image);
                        }
                        (Some([_, image @ ..]), rank)
                            if ordered(before)
                                || rank == 4 && image.iter().product::<usize>() > 1 =>
                        {
                            return Err(refused(&node.name, "reshapes an image"));
                        }
                        (None, 4) if ordered(after) || flattened[x].is_some() => {
                            return Err(refused(&node.name, "makes an image of a vector"));
                        }
                        _ => flattened[node.output.0] = flattened[x],
                    }
                    if let (Op::Reshape { shape }, 4) = (&mut node.op, after.len()) {
                        *shape = order.iter().map(|&a| after[a]).collect();
                    }
                }
                Op::Concat { axis } | Op::Slice { axis, .. } if shapes[x].len() == 4 => {
                    *axis = order.iter().position(|a| a == axis).unwrap_or(*axis);
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
                value.shape = order.map(|a| dims[a]).into();
            }
        }
        self.layout = to;
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

/// `[o, c·h·w]` to `[o, h·w·c]`, or back.
fn columns_reordered(weight: &Tensor, [a, b, c]: [usize; 3], order: [usize; 4]) -> Tensor {
    let (rows, columns) = (weight.shape()[0], weight.shape()[1]);
    let image = weight.clone().reshaped([rows, a, b, c]).expect("a checked linear layer");
    image.transposed(order).reshaped([rows, columns]).expect("as many elements")
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
