//! The matrix product behind convolutions and linear layers: pixels by output channels.
//!
//! One driver walks panels and edges; an instruction set brings a [`Tile`] whose epilogue (bias,
//! requantization, clamp, store) is fused (Goto and van de Geijn 2008, without blocking of k).

pub(crate) mod float;
pub(crate) mod int8;
pub(crate) mod vector;

use bytemuck::Pod;

use super::aligned::Aligned;

/// What differs between the int8 and the f32 product.
pub trait Arithmetic: 'static {
    /// Elements of input, weights and output.
    type Value: Pod + Send + Sync;
    /// What happens to an accumulator before it is stored; its constants are one a packed channel.
    type Epilogue: Send + Sync;
}

/// A micro-kernel for pixels by one panel of channels.
pub(crate) struct Tile<T: Arithmetic> {
    /// Channels in a panel of the right side, a multiple of `lanes`.
    pub(crate) nr: usize,
    /// Channels in a vector: a last panel of fewer than `nr` is padded to a multiple.
    pub(crate) lanes: usize,
    /// Neighbours along k that lie together in the right side; segments are padded to a multiple.
    pub(crate) k_group: usize,
    /// Changes what the tile is to read instead of the input; it then reads bands only.
    pub(crate) encode: Option<fn(&mut [T::Value])>,
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
pub(crate) struct Left<'a, V> {
    /// All elements.
    pub(crate) values: &'a [V],
    /// Where pixels begin.
    pub(crate) pixels: &'a [usize],
    /// Where segments begin from the pixel on.
    pub(crate) segments: &'a [usize],
    /// Where each `k_group` of all segments begins.
    pub(crate) groups: &'a [usize],
}

/// What a tile reads and writes.
pub(crate) struct Operands<'a, T: Arithmetic> {
    /// Pixels to compute, any number.
    pub(crate) left: Left<'a, T::Value>,
    /// Elements of a segment with padding, a multiple of `k_group`.
    pub(crate) segment: usize,
    /// Elements from the beginning of a pixel to the end of its last group.
    pub(crate) reach: usize,
    /// One panel, `[segments, segment / k_group, channels, k_group]` with `cols` channels padded
    /// to a multiple of the tile's `lanes`.
    pub(crate) right: &'a [T::Value],
    /// Constants of all packed channels.
    pub(crate) epilogue: &'a T::Epilogue,
    /// The panel's first packed channel.
    pub(crate) channel: usize,
    /// Channels to store, 1 to `nr`.
    pub(crate) cols: usize,
    /// A row of `cols` elements for each pixel.
    pub(crate) y: &'a mut [T::Value],
    /// Where each pixel's row begins in `y`, in ascending order.
    pub(crate) places: &'a [usize],
}

impl<T: Arithmetic> Operands<'_, T> {
    /// One segment of several pixels.
    #[inline(always)]
    pub(crate) fn segments<const R: usize>(
        &self,
        pixels: &[usize; R],
        offset: usize,
    ) -> [&[T::Value]; R] {
        pixels.map(|pixel| &self.left.values[pixel + offset..][..self.segment])
    }

    /// All groups of several pixels: what lies from a pixel's beginning to its last group's end.
    #[inline(always)]
    pub(crate) fn windows<const R: usize>(&self, pixels: [usize; R]) -> [&[T::Value]; R] {
        let mut windows = [&self.left.values[..0]; R];
        for (window, pixel) in windows.iter_mut().zip(pixels) {
            *window = &self.left.values[pixel..][..self.reach];
        }
        windows
    }

    /// The part of an output row that the tile owns.
    #[inline(always)]
    pub(crate) fn y_row(&mut self, row: usize) -> &mut [T::Value] {
        &mut self.y[self.places[row]..][..self.cols]
    }
}

/// A right side packed for one tile: weights `[groups, panels, segments, segment, channels]`.
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
    /// `epilogue` holds `groups · n.next_multiple_of(lanes)` channels, see [`spread`].
    pub(crate) fn new(
        tile: Tile<T>,
        n: usize,
        depth: Depth,
        weight: &[T::Value],
        epilogue: T::Epilogue,
    ) -> Self {
        let Tile { nr, lanes, k_group, .. } = tile;
        let weights = pack([nr, lanes, k_group], n, depth, weight);
        let segment = depth.segment.next_multiple_of(tile.k_group);
        Self { depth: Depth { segment, ..depth }, n, tile, weights, epilogue }
    }

    /// Channels in a panel.
    pub(crate) fn panel(&self) -> usize {
        self.tile.nr
    }

    /// All pixels of the left side by all channels of `group`, each to its place in `y`.
    pub(crate) fn run(
        &self,
        group: usize,
        left: Left<'_, T::Value>,
        (y, places): (&mut [T::Value], &[usize]),
    ) {
        let Tile { nr, lanes, k_group, run, .. } = self.tile;
        let Depth { segments, segment } = self.depth;
        let reach = left.groups.iter().max().map_or(0, |last| last + k_group);
        let first = group * self.n.next_multiple_of(lanes);
        for start in (0..self.n).step_by(nr) {
            let cols = nr.min(self.n - start);
            let (depth, channel) = (segments * segment, first + start);
            let mut operands = Operands {
                left,
                segment,
                reach,
                right: &self.weights[channel * depth..][..cols.next_multiple_of(lanes) * depth],
                epilogue: &self.epilogue,
                channel,
                cols,
                y: &mut y[start..],
                places,
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

/// `[groups, n, segments, segment]` to `[groups, panels, segments, segment / k_group, channels,
/// k_group]` with zeros where padded.
fn pack<V: Pod>(
    [nr, lanes, k_group]: [usize; 3],
    n: usize,
    depth: Depth,
    weight: &[V],
) -> Aligned<V> {
    let Depth { segments, segment } = depth;
    let padded = segment.next_multiple_of(k_group);
    let channels = n.next_multiple_of(lanes);
    let groups = weight.len() / (n * segments * segment);
    let mut packed = Aligned::zeroed(groups * channels * segments * padded);
    let values = packed.as_mut_slice();
    for (i, weights) in weight.chunks_exact(segment).enumerate() {
        let (row, part) = (i / segments, i % segments);
        let (group, channel) = (row / n, row % n);
        let panel = channel / nr * nr;
        let width = nr.min(channels - panel);
        let start = (group * channels + panel) * segments * padded + part * padded * width;
        for (k, &w) in weights.iter().enumerate() {
            let lane = (k / k_group * width + channel - panel) * k_group + k % k_group;
            values[start + lane] = w;
        }
    }
    packed
}

/// Constants of `[groups, n]` channels at the places of packed ones, with zeros between.
pub(crate) fn spread<V: Pod>(values: &[V], n: usize, lanes: usize) -> Aligned<V> {
    let padded = n.next_multiple_of(lanes);
    let mut all = Aligned::zeroed(values.len() / n * padded);
    for (to, from) in all.as_mut_slice().chunks_exact_mut(padded).zip(values.chunks_exact(n)) {
        to[..n].copy_from_slice(from);
    }
    all
}
