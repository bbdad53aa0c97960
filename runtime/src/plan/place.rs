//! How values lie in the arena: with which margin, in how many bytes.

use alloc::vec;
use alloc::vec::Vec;

use super::select::conv_shape;
use crate::dtype::DType;
use crate::graph::{Graph, Layout, Node, Op, Value, ValueId};
use crate::kernels::{self, Image, Isa, Margin};

/// A piece of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// An image with its margin has at most so many times its elements and so many more; around a tiny
/// image the padding of a hostile file would otherwise fill the memory.
const MOST_TIMES: usize = 4;
const SMALL: usize = 1 << 14;

/// The first and the number of a value's channels in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channels {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

/// A value's place: its image, and perhaps bytes behind it that kernels may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) image: Image,
    /// The value's channels in the image, which others may share.
    pub(crate) channels: Channels,
    pub(crate) dtype: DType,
    /// What 0.0 is in an int8 value.
    pub(crate) zero_point: i8,
}

impl Place {
    /// Whether the image is the value, one element after another.
    pub(crate) fn is_dense(self) -> bool {
        self.image.is_dense() && self.channels.count == self.image.c
    }

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

/// How a value lies in memory, before its slot is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lay {
    pub(super) image: Image,
    pub(super) channels: Channels,
    /// The joined value of whose channels these are some.
    pub(super) part_of: Option<ValueId>,
}

/// How each value lies: with a margin where all who touch it know margins and a convolution wants
/// one; among the channels of a joined value where its producer can write there.
pub(super) fn lays(graph: &Graph, isa: Isa) -> Vec<Lay> {
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
    let lay = |(value, margin): (&Value, Option<Margin>)| {
        let (plain, margin) = (dense(value), margin.unwrap_or_default());
        let wide = Image { margin, ..plain };
        let image = if wide.len() <= MOST_TIMES * plain.len() + SMALL { wide } else { plain };
        Lay { image, channels: Channels { first: 0, count: image.c }, part_of: None }
    };
    let mut lays: Vec<Lay> = graph.values.iter().zip(margins).map(lay).collect();
    for node in graph.nodes.iter().filter(|node| joins_channels(graph, node)) {
        let (whole, mut first) = (node.output, 0);
        for &x in &node.inputs {
            let count = lays[x.0].image.c;
            if can_be_part(graph, x, whole) {
                let channels = Channels { first, count };
                lays[x.0] = Lay { image: lays[whole.0].image, channels, part_of: Some(whole) };
            }
            first += count;
        }
    }
    lays
}

/// Each value one element after another.
pub(super) fn dense_lays(graph: &Graph) -> Vec<Lay> {
    let images = graph.values.iter().map(dense);
    let lay = |image: Image| Lay {
        image,
        channels: Channels { first: 0, count: image.c },
        part_of: None,
    };
    images.map(lay).collect()
}

/// Whether a node puts the channels of images side by side.
fn joins_channels(graph: &Graph, node: &Node) -> bool {
    let channels = Layout::Nhwc.channel_axis();
    matches!(node.op, Op::Concat { axis } if axis == channels)
        && Layout::Nhwc.image(&graph.value(node.output).shape).is_some()
}

/// Whether a value can be written where it is joined with others: nothing else reads it, it keeps
/// its parameters there, and a convolution by matrix products makes it.
fn can_be_part(graph: &Graph, value: ValueId, whole: ValueId) -> bool {
    let reads = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|&&id| id == value);
    let made_by_matrix = graph.nodes.iter().any(|node| {
        let shape = (node.output == value).then(|| conv_shape(graph, node)).flatten();
        shape.is_some_and(|shape| !shape.is_depthwise())
    });
    let (x, y) = (graph.value(value), graph.value(whole));
    let same = x.dtype == y.dtype && x.quant == y.quant;
    made_by_matrix && same && reads.count() == 1 && !graph.outputs.contains(&value)
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

/// Tokens are an image of one column: threads divide its rows.
fn dense(value: &Value) -> Image {
    Image::dense(match value.shape[..] {
        [_, h, w, c] => [h, w, c],
        [_, tokens, width] => [tokens, 1, width],
        _ => [1, 1, value.shape.elements()],
    })
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
