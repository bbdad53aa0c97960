//! Which 3×3 convolutions are worth transforming, by an estimate of their cost in products.

use crate::kernels::ConvShape;

/// How many outputs a tile has in rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Size {
    /// F(2×2, 3×3): 16 products for 4 outputs.
    Two,
    /// F(4×4, 3×3): 36 products for 16 outputs.
    Four,
}

/// Bytes of weights that stay in a core's second-level cache from one inference to the next.
const CACHED: usize = 1 << 20;

/// The size that pays for a convolution; none where it is computed as it stands.
///
/// Estimates from one core of a Zen 4 (`docs/performance.md`): to read a weight costs as much as
/// two products where it lies in the second-level cache and twelve where it does not; the
/// transforms of a tile of four cost as much as 250 products a channel of input and of output,
/// those of a tile of two 90. What saves less than a sixth is not worth its rounding.
pub(in super::super) fn choose(shape: &ConvShape) -> Option<Size> {
    let plain = shape.stride == [1, 1] && shape.dilation == [1, 1] && shape.groups == 1;
    if !plain || shape.kernel != [3, 3] {
        return None;
    }
    let pairs = shape.in_c * shape.out_c;
    let cost = |positions: usize, pixels: usize, transforms: usize| {
        let weights = positions * pairs;
        let read = if weights * size_of::<f32>() > CACHED { 12 } else { 2 };
        weights * pixels.max(read) + pixels * transforms * (shape.in_c + shape.out_c)
    };
    let tiles = |of: usize| shape.out_h.div_ceil(of) * shape.out_w.div_ceil(of);
    let direct = cost(9, shape.out_h * shape.out_w, 0);
    let (two, four) = (cost(16, tiles(2), 90), cost(36, tiles(4), 250));
    let (size, least) = if four <= two { (Size::Four, four) } else { (Size::Two, two) };
    (least < direct / 6 * 5).then_some(size)
}
