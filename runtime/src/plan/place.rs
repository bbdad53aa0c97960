//! How values lie in the arena: with which margin, in how many bytes.

use alloc::vec;
use alloc::vec::Vec;

use super::select::conv_shape;
use crate::dtype::DType;
use crate::graph::{Graph, Layout, Op, Value};
use crate::kernels::{self, Image, Isa, Margin};

/// A piece of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// A value's place: its image, and perhaps bytes behind it that kernels may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) image: Image,
    pub(crate) dtype: DType,
    /// What 0.0 is in an int8 value.
    pub(crate) zero_point: i8,
}

impl Place {
    /// Bytes of the image with its margin, without those behind it.
    pub(super) fn image_bytes(self) -> usize {
        self.image.len() * self.dtype.size()
    }

    /// The image with its margin, without what lies behind it.
    pub(crate) fn bytes(self, arena: &[u8]) -> &[u8] {
        &arena[self.slot.offset..][..self.image_bytes()]
    }

    /// Copies a dense image from `bytes` and fills its margin.
    ///
    /// Panics when the length is not that of the image.
    pub(crate) fn set(self, bytes: &[u8], arena: &mut [u8]) {
        let slot = &mut arena[self.slot.offset..][..self.slot.bytes];
        if self.dtype == DType::I8 {
            self.image.place(bytes, slot);
        } else {
            let (from, to) = (bytemuck::cast_slice(bytes), bytemuck::cast_slice_mut(slot));
            self.image.place::<f32>(from, to);
        }
        self.fill_margin(arena);
    }

    /// Fills the margin with what 0.0 is.
    pub(crate) fn fill_margin(self, arena: &mut [u8]) {
        if self.image.is_dense() {
            return;
        }
        let slot = &mut arena[self.slot.offset..][..self.slot.bytes];
        match self.dtype {
            DType::I8 => self.image.fill_margin(self.zero_point.cast_unsigned(), slot),
            _ => self.image.fill_margin(0.0, bytemuck::cast_slice_mut::<_, f32>(slot)),
        }
    }
}

/// The image of each value, with a margin where all who touch it know margins and a convolution
/// wants one.
pub(super) fn images(graph: &Graph, isa: Isa) -> Vec<Image> {
    let mut margins = vec![Some(Margin::default()); graph.values.len()];
    for node in &graph.nodes {
        if !knows_margins(&node.op) {
            node.inputs.iter().chain([&node.output]).for_each(|id| margins[id.0] = None);
        } else if let Some(shape) = conv_shape(graph, node) {
            let x = node.inputs[0];
            let wanted = kernels::margin(isa, &shape, graph.value(x).dtype == DType::I8);
            margins[x.0] = margins[x.0].map(|margin| margin.union(wanted));
        }
    }
    graph.outputs.iter().for_each(|id| margins[id.0] = None);
    let images = graph.values.iter().zip(margins);
    images
        .map(|(value, margin)| Image { margin: margin.unwrap_or_default(), ..dense(value) })
        .collect()
}

/// Whether a node's kernel reads and writes images with margins: convolutions, and what goes
/// element by element.
fn knows_margins(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d { .. }
            | Op::Add
            | Op::Activation { .. }
            | Op::BatchNorm { .. }
            | Op::Quantize
            | Op::Dequantize
    )
}

fn dense(value: &Value) -> Image {
    Image::dense(Layout::Nhwc.image(&value.shape).unwrap_or([1, 1, value.shape.elements()]))
}

/// The output's slot, writable, beside the inputs' slots.
pub(super) fn split<const N: usize>(
    arena: &mut [u8],
    output: Place,
    inputs: [Place; N],
) -> (&mut [u8], [&[u8]; N]) {
    let (before, rest) = arena.split_at_mut(output.slot.offset);
    let (output_bytes, after) = rest.split_at_mut(output.slot.bytes);
    let (before, after) = (&*before, &*after);
    let end = output.slot.offset + output.slot.bytes;
    let inputs = inputs.map(|Place { slot, .. }| match slot.offset.checked_sub(end) {
        Some(offset) => &after[offset..][..slot.bytes],
        None => &before[slot.offset..][..slot.bytes],
    });
    (output_bytes, inputs)
}
