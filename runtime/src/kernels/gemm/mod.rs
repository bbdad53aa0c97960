//! The matrix product behind convolutions and linear layers: pixels by output channels.
//!
//! One driver walks panels and edges; an instruction set brings a [`Tile`] whose epilogue (bias,
//! requantization, clamp, store) is fused (Goto and van de Geijn 2008, without blocking of k).

pub(crate) mod float;
pub(crate) mod int8;

use bytemuck::Pod;

use super::aligned::Aligned;

/// What differs between the int8 and the f32 product.
pub(crate) trait Arithmetic: 'static {
    /// Elements of input, weights and output.
    type Value: Pod;
    /// Elements of the left side as tiles read them.
    type Left: Pod + From<Self::Value>;
    /// What happens to an accumulator before it is stored; its constants are one a packed channel.
    type Epilogue;

    /// The input itself where tiles read it as it is.
    fn direct(x: &[Self::Value]) -> Option<&[Self::Left]>;
}

/// A micro-kernel for pixels by one panel of channels.
pub(crate) struct Tile<T: Arithmetic> {
    /// Channels in a panel of the right side.
    pub(crate) nr: usize,
    /// Neighbours along k that lie together in the right side; segments are padded to a multiple.
    pub(crate) k_group: usize,
    /// Unsafe to call where the CPU lacks the instruction set of the tile.
    pub(crate) run: unsafe fn(&mut Operands<'_, T>),
}

/// How the products of a sum lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct Depth {
    /// Segments of a sum.
    pub(crate) segments: usize,
    /// Neighbouring elements in a segment.
    pub(crate) segment: usize,
}

/// The left side: pixel `i`, segment `j` begins at `values[pixels[i] + segments[j]]`.
///
/// Past each segment lie at least `k_group - 1` elements; they are read but weighted with zero.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, L> {
    /// All elements.
    pub(crate) values: &'a [L],
    /// Where pixels begin.
    pub(crate) pixels: &'a [usize],
    /// Where segments begin from the pixel on.
    pub(crate) segments: &'a [usize],
}

/// What a tile reads and writes.
pub(crate) struct Operands<'a, T: Arithmetic> {
    /// Pixels to compute, any number.
    pub(crate) left: Left<'a, T::Left>,
    /// Elements of a segment with padding, a multiple of `k_group`.
    pub(crate) segment: usize,
    /// One panel, `[segments, segment / k_group, nr, k_group]`.
    pub(crate) right: &'a [T::Value],
    /// Constants of all packed channels.
    pub(crate) epilogue: &'a T::Epilogue,
    /// The panel's first packed channel.
    pub(crate) channel: usize,
    /// Channels to store, 1 to `nr`.
    pub(crate) cols: usize,
    /// A row of `cols` elements for each pixel; they begin `y_stride` apart.
    pub(crate) y: &'a mut [T::Value],
    /// Distance between rows of `y`.
    pub(crate) y_stride: usize,
}

impl<T: Arithmetic> Operands<'_, T> {
    /// One segment of several pixels.
    #[inline(always)]
    pub(crate) fn segments<const R: usize>(
        &self,
        pixels: &[usize; R],
        offset: usize,
    ) -> [&[T::Left]; R] {
        pixels.map(|pixel| &self.left.values[pixel + offset..][..self.segment])
    }

    /// The part of an output row that the tile owns.
    #[inline(always)]
    pub(crate) fn y_row(&mut self, row: usize) -> &mut [T::Value] {
        &mut self.y[row * self.y_stride..][..self.cols]
    }
}

/// A right side packed for one tile: weights `[groups, panels, segments, segment, nr]`.
pub(crate) struct Gemm<T: Arithmetic> {
    tile: Tile<T>,
    n: usize,
    /// With segments padded to the tile's `k_group`.
    depth: Depth,
    weights: Aligned<T::Value>,
    epilogue: T::Epilogue,
}

impl<T: Arithmetic> Gemm<T> {
    /// Packs `weight` `[groups, n, segments, segment]`; the tile is one that this CPU can run.
    ///
    /// `epilogue` holds `groups · n.next_multiple_of(nr)` channels, see [`spread`].
    pub(crate) fn new(
        tile: Tile<T>,
        n: usize,
        depth: Depth,
        weight: &[T::Value],
        epilogue: T::Epilogue,
    ) -> Self {
        let weights = pack(&tile, n, depth, weight);
        let segment = depth.segment.next_multiple_of(tile.k_group);
        Self { depth: Depth { segment, ..depth }, n, tile, weights, epilogue }
    }

    /// All pixels of the left side by all channels of `group`.
    pub(crate) fn run(
        &self,
        group: usize,
        left: Left<'_, T::Left>,
        (y, y_stride): (&mut [T::Value], usize),
    ) {
        let Tile { nr, run, .. } = self.tile;
        let Depth { segments, segment } = self.depth;
        let panels = self.n.div_ceil(nr);
        let panel_len = nr * segments * segment;
        for panel in 0..panels {
            let packed = group * panels + panel;
            let mut operands = Operands {
                left,
                segment,
                right: &self.weights[packed * panel_len..][..panel_len],
                epilogue: &self.epilogue,
                channel: packed * nr,
                cols: nr.min(self.n - panel * nr),
                y: &mut y[panel * nr..],
                y_stride,
            };
            #[expect(unsafe_code, reason = "the one call through the table of tiles")]
            // SAFETY: `int8::tile` and `float::tile` hand out a tile only after
            // `Isa::assert_available` has seen its instruction set on this CPU.
            unsafe {
                run(&mut operands);
            }
        }
    }
}

/// `[groups, n, segments, segment]` to `[groups, panels, segments, segment / k_group, nr, k_group]`
/// with zeros where padded.
fn pack<T: Arithmetic>(
    tile: &Tile<T>,
    n: usize,
    depth: Depth,
    weight: &[T::Value],
) -> Aligned<T::Value> {
    let Tile { nr, k_group, .. } = *tile;
    let Depth { segments, segment } = depth;
    let panels = n.div_ceil(nr);
    let segment_len = segment.next_multiple_of(k_group) * nr;
    let groups = weight.len() / (n * segments * segment);
    let mut packed = Aligned::zeroed(groups * panels * segments * segment_len);
    let values = packed.as_mut_slice();
    for (i, weights) in weight.chunks_exact(segment).enumerate() {
        let (row, part) = (i / segments, i % segments);
        let (group, channel) = (row / n, row % n);
        let start = ((group * panels + channel / nr) * segments + part) * segment_len;
        for (k, &w) in weights.iter().enumerate() {
            let lane = (k / k_group * nr + channel % nr) * k_group + k % k_group;
            values[start + lane] = w;
        }
    }
    packed
}

/// Constants of `[groups, n]` channels at the places of packed ones, with zeros between.
pub(crate) fn spread<V: Pod>(values: &[V], n: usize, nr: usize) -> Aligned<V> {
    let padded = n.next_multiple_of(nr);
    let mut all = Aligned::zeroed(values.len() / n * padded);
    for (to, from) in all.as_mut_slice().chunks_exact_mut(padded).zip(values.chunks_exact(n)) {
        to[..n].copy_from_slice(from);
    }
    all
}
