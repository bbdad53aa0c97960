//! The layer language of recipes: one line a layer, as `conv 16 3x3 stride 2` (`docs/networks.md`).
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::str::SplitWhitespace;

use hipflask_runtime::graph::Activation;

use crate::suggest::nearest;

/// Most channels and linear units.
const MAX_SIZE: usize = 65_536;
/// Largest window, stride, dilation or padding.
const MAX_WINDOW: usize = 4096;

/// A layer as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layer {
    Conv(ConvLayer),
    Linear { out: usize, bias: bool },
    BatchNorm,
    Activation(Activation),
    Pool { kind: PoolKind, kernel: [usize; 2], stride: [usize; 2], padding: Padding },
    GlobalAvgPool,
    Flatten,
    SqueezeExcite { reduction: usize },
    Shuffle { groups: usize },
    Save,
    Add,
    Mul,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ConvLayer {
    /// First part of the layer's name.
    pub(super) kind: &'static str,
    /// Output channels; as many as the input has in a depthwise convolution, which has no number.
    pub(super) out: Option<usize>,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: Padding,
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) bias: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PoolKind {
    Max,
    Average,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Padding {
    /// As many zeros as keep the size at stride 1.
    Same,
    /// Above and below, left and right.
    Zeros([usize; 2]),
}

impl Padding {
    /// Zeros at top, left, bottom, right. An odd number puts the larger half at bottom and right,
    /// as PyTorch's `padding="same"` does.
    pub(super) fn around(self, kernel: [usize; 2], dilation: [usize; 2]) -> [usize; 4] {
        match self {
            Self::Zeros([vertical, horizontal]) => [vertical, horizontal, vertical, horizontal],
            Self::Same => {
                let span = |k: usize, d: usize| k.saturating_sub(1).saturating_mul(d);
                let ([kh, kw], [dh, dw]) = (kernel, dilation);
                let (rows, columns) = (span(kh, dh), span(kw, dw));
                [rows / 2, columns / 2, rows.div_ceil(2), columns.div_ceil(2)]
            }
        }
    }
}

/// Kinds of layers with how they are written; activations come on top.
const FORMS: [(&str, &str); 14] = [
    ("conv", "conv CHANNELS KxK [stride S] [pad P|same|valid] [dilation D] [groups G] [no-bias]"),
    ("depthwise", "depthwise KxK [stride S] [pad P|same|valid] [dilation D] [no-bias]"),
    ("pointwise", "pointwise CHANNELS [groups G] [no-bias]"),
    ("linear", "linear UNITS [no-bias]"),
    ("bn", "bn"),
    ("max-pool", "max-pool KxK [stride S] [pad P|same|valid]"),
    ("avg-pool", "avg-pool KxK [stride S] [pad P|same|valid]"),
    ("global-avg-pool", "global-avg-pool"),
    ("flatten", "flatten"),
    ("squeeze-excite", "squeeze-excite REDUCTION"),
    ("shuffle", "shuffle GROUPS"),
    ("save", "save"),
    ("add", "add"),
    ("mul", "mul"),
];

/// The layer that `text` says, or why it says none.
pub(super) fn parse(text: &str) -> Result<Layer, String> {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or("");
    if let Some(function) = Activation::ALL.into_iter().find(|f| f.name() == kind) {
        return match words.next() {
            None => Ok(Layer::Activation(function)),
            Some(word) => Err(format!("{kind} takes no options, but {word:?} follows")),
        };
    }
    let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == kind) else {
        return Err(unknown(kind));
    };
    layer(kind, &mut words).map_err(|reason| format!("{reason}; write: {form}"))
}

fn layer(kind: &str, words: &mut SplitWhitespace<'_>) -> Result<Layer, String> {
    let conv = |kind, out, kernel, options: Options| {
        Layer::Conv(ConvLayer {
            kind,
            out,
            kernel,
            stride: options.stride.unwrap_or([1; 2]),
            padding: options.padding.unwrap_or(Padding::Same),
            dilation: options.dilation.unwrap_or([1; 2]),
            groups: options.groups.unwrap_or(1),
            bias: !options.no_bias,
        })
    };
    let channels = |word| number(word, "number of channels", 1..=MAX_SIZE);
    let kernel = |word| pair(word, "window", 1..=MAX_WINDOW);
    Ok(match kind {
        "conv" => {
            let (out, kernel) = (channels(words.next())?, kernel(words.next())?);
            let options = options(words, &["stride", "pad", "dilation", "groups", "no-bias"])?;
            conv("conv", Some(out), kernel, options)
        }
        "depthwise" => {
            let kernel = kernel(words.next())?;
            let options = options(words, &["stride", "pad", "dilation", "no-bias"])?;
            conv("depthwise", None, kernel, options)
        }
        "pointwise" => {
            let out = channels(words.next())?;
            conv("pointwise", Some(out), [1; 2], options(words, &["groups", "no-bias"])?)
        }
        "linear" => {
            let out = number(words.next(), "number of units", 1..=MAX_SIZE)?;
            Layer::Linear { out, bias: !options(words, &["no-bias"])?.no_bias }
        }
        "squeeze-excite" => {
            let reduction = number(words.next(), "reduction", 1..=MAX_SIZE)?;
            options(words, &[])?;
            Layer::SqueezeExcite { reduction }
        }
        "shuffle" => {
            let groups = number(words.next(), "number of groups", 1..=MAX_SIZE)?;
            options(words, &[])?;
            Layer::Shuffle { groups }
        }
        "max-pool" | "avg-pool" => {
            let kernel = kernel(words.next())?;
            let options = options(words, &["stride", "pad"])?;
            Layer::Pool {
                kind: if kind == "max-pool" { PoolKind::Max } else { PoolKind::Average },
                kernel,
                stride: options.stride.unwrap_or(kernel),
                padding: options.padding.unwrap_or(Padding::Zeros([0; 2])),
            }
        }
        _ => {
            options(words, &[])?;
            match kind {
                "bn" => Layer::BatchNorm,
                "global-avg-pool" => Layer::GlobalAvgPool,
                "flatten" => Layer::Flatten,
                "save" => Layer::Save,
                "add" => Layer::Add,
                "mul" => Layer::Mul,
                _ => return Err(unknown(kind)),
            }
        }
    })
}

fn unknown(kind: &str) -> String {
    if kind == "dropout" {
        return "dropout is not supported: a small student seldom overfits; use the optimizer's \
                weight_decay or data.augment"
            .into();
    }
    let kinds = FORMS.iter().map(|(kind, _)| *kind);
    let known: Vec<&str> = kinds.chain(Activation::ALL.map(Activation::name)).collect();
    let hint = match nearest(kind, known.iter().copied()) {
        Some(near) => format!(", did you mean {near:?}?"),
        None => ":".into(),
    };
    format!("{kind:?} is no kind of layer{hint} valid are {}", known.join(", "))
}

/// What follows a layer's numbers.
#[derive(Default)]
struct Options {
    stride: Option<[usize; 2]>,
    padding: Option<Padding>,
    dilation: Option<[usize; 2]>,
    groups: Option<usize>,
    no_bias: bool,
}

/// The options in the rest of a line, each at most once and one of `valid`.
fn options(words: &mut SplitWhitespace<'_>, valid: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut seen: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        if !valid.contains(&word) {
            return Err(format!("{word:?} is no option here"));
        }
        if seen.contains(&word) {
            return Err(format!("{word:?} stands twice"));
        }
        seen.push(word);
        match word {
            "stride" => options.stride = Some(pair(words.next(), "stride", 1..=MAX_WINDOW)?),
            "dilation" => options.dilation = Some(pair(words.next(), "dilation", 1..=MAX_WINDOW)?),
            "groups" => {
                options.groups = Some(number(words.next(), "number of groups", 1..=MAX_SIZE)?);
            }
            "pad" => {
                options.padding = Some(match words.next() {
                    Some("same") => Padding::Same,
                    Some("valid") => Padding::Zeros([0; 2]),
                    word => Padding::Zeros(pair(word, "padding", 0..=MAX_WINDOW)?),
                });
            }
            _ => options.no_bias = true,
        }
    }
    Ok(options)
}

/// `3x5` as `[3, 5]`, or `3` as `[3, 3]`.
fn pair(
    word: Option<&str>,
    what: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<[usize; 2], String> {
    match word.and_then(|word| word.split_once('x')) {
        Some((height, width)) => {
            Ok([number(Some(height), what, range.clone())?, number(Some(width), what, range)?])
        }
        None => number(word, what, range).map(|size| [size; 2]),
    }
}

fn number(
    word: Option<&str>,
    what: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, String> {
    let word = word.ok_or_else(|| format!("the {what} is missing"))?;
    match word.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let (least, most) = (range.start(), range.end());
            Err(format!("the {what} is a whole number from {least} to {most}, not {word:?}"))
        }
    }
}
