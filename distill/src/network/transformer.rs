//! `vit-tiny` (Dosovitskiy et al. 2021) and `text-encoder`: pre-norm transformer encoders (Vaswani et
//! al. 2017; Xiong et al. 2020) under a linear classifier over the mean of the tokens.

use hipflask_runtime::graph::{Activation, Op, ValueId};

use super::builder::{Builder, Conv, Shift};
use super::names::Size;
use crate::{Error, ErrorKind, Result};

/// Most patches along an image's longer side, and the least side of a patch.
const MOST_PATCHES: usize = 8;
const LEAST_PATCH: usize = 2;

/// Most elements of an attention head where the width is a multiple of it; below, as many heads
/// as [`LEAST_HEADS`].
const WIDEST_HEAD: usize = 64;
const LEAST_HEADS: usize = 4;

/// Hidden units of a layer's two linear ones, in widths.
const EXPANSION: usize = 4;

/// Square patches of an image as tokens of `width` elements, and `depth` layers.
///
/// The side of a patch is the least power of two that leaves 8 patches or fewer along the longer
/// side: 4 for 28 and 32 pixels. What lacks at the bottom and the right is zeros.
pub(super) fn vision(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let sides = <[usize; 2]>::try_from(&b.shape(image)[2..]).unwrap_or_default();
    let longest = sides[0].max(sides[1]);
    let patch = longest.div_ceil(MOST_PATCHES).next_power_of_two().max(LEAST_PATCH);
    let [bottom, right] = sides.map(|side| side.next_multiple_of(patch) - side);
    let patches = Conv {
        kernel: [patch; 2],
        stride: [patch; 2],
        padding: [0, 0, bottom, right],
        shift: Shift::Bias,
        ..Conv::normed(size.width, patch)
    };
    let x = b.conv("patch_embed.proj", image, &patches)?;
    let x = b.op("patch_embed.tokens", Op::Tokens, &[x])?;
    encoder(b, x, None, size)
}

/// Ids of text as tokens of `width` elements, and `depth` layers; id 0 is padding.
pub(super) fn text(b: &mut Builder, ids: ValueId, size: &Size) -> Result<ValueId> {
    let Some(vocabulary) = size.vocabulary.filter(|_| b.shape(ids).len() == 2) else {
        let message = format!(
            "reads text, the data's samples are {:?}: give data.format = \"text\", or another network",
            &b.shape(ids)[1..]
        );
        return Err(Error::new(ErrorKind::Config, "input", message));
    };
    let x = b.embedding("token_embed", ids, vocabulary, size.width)?;
    encoder(b, x, Some(ids), size)
}

/// Positions, `depth` layers, a last norm, the mean of the tokens and the logits; names are timm's.
fn encoder(b: &mut Builder, x: ValueId, ids: Option<ValueId>, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, classes, .. } = size;
    let most = LEAST_HEADS.max(width / WIDEST_HEAD);
    let heads = (1..=most).rev().find(|&heads| width.is_multiple_of(heads)).unwrap_or(1);
    let with_ids = |x: ValueId| [x].into_iter().chain(ids).collect::<Vec<_>>();
    let mut x = b.position("pos_embed", x)?;
    for block in 0..depth {
        let at = |part: &str| format!("blocks.{block}.{part}");
        let y = b.layer_norm(at("norm1"), x)?;
        let y = b.linear(at("attn.qkv"), y, 3 * width, true)?;
        let y = b.op(at("attn"), Op::Attention { heads }, &with_ids(y))?;
        let y = b.linear(at("attn.proj"), y, width, true)?;
        x = b.op(at("add1"), Op::Add, &[x, y])?;
        let y = b.layer_norm(at("norm2"), x)?;
        let y = b.linear(at("mlp.fc1"), y, EXPANSION * width, true)?;
        let y = b.activation(at("mlp.act"), Activation::Gelu, y)?;
        let y = b.linear(at("mlp.fc2"), y, width, true)?;
        x = b.op(at("add2"), Op::Add, &[x, y])?;
    }
    let x = b.layer_norm("norm", x)?;
    let x = b.op("mean", Op::MeanTokens, &with_ids(x))?;
    b.linear("head", x, classes, true)
}
