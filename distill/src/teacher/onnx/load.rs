//! From the bytes of an ONNX file to a network that tract runs, with its ports checked.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::ports::input_shape;
use crate::teacher::{Placement, Wishes};

/// A network that is ready to answer.
pub(super) struct Loaded {
    pub(super) plan: Arc<TypedRunnableModel>,
    /// Its input, the batch first.
    pub(super) input: Vec<usize>,
    pub(super) dtype: DatumType,
    pub(super) classes: usize,
}

/// The optimised network for samples of shape `sample`, or a sentence that says why there is none.
pub(super) fn load(bytes: &[u8], sample: &[usize], wishes: &Wishes) -> Result<Loaded, String> {
    let unread = |e: TractError| {
        format!("cannot be read ({e:#}); a teacher in ONNX keeps its weights in the file itself")
    };
    // Shapes that the file states for later values may carry its own batch size.
    let framework = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = framework.model_for_read(&mut &*bytes).map_err(unread)?;
    choose_output(&mut model, wishes.output.as_deref())?;
    let (dims, dtype) = input(&model)?;
    let input = input_shape(dims.as_deref(), sample, wishes.layout == Some(Placement::Nhwc))?;
    let typed = model
        .with_input_fact(0, dtype.fact(&input).into())
        .and_then(InferenceModelExt::into_typed)
        .map_err(|e| format!("does not fit samples of {sample:?}: {e:#}"))?;
    let unfit = |e: TractError| format!("cannot be run: {e:#}");
    let batch = input.first().copied().unwrap_or(1);
    let typed = without_softmax(typed).map_err(unfit)?;
    let classes = classes(&typed, batch)?;
    let plan = typed.into_optimized().and_then(IntoRunnable::into_runnable).map_err(unfit)?;
    Ok(Loaded { plan, input, dtype, classes })
}

/// Leaves the one output that has the logits.
fn choose_output(model: &mut InferenceModel, wanted: Option<&str>) -> Result<(), String> {
    let outputs = model.outputs.clone();
    let label = |&outlet: &OutletId| {
        let node = || model.nodes().get(outlet.node).map_or("?", |node| node.name.as_str());
        model.outlet_label(outlet).unwrap_or_else(node).to_string()
    };
    let names: Vec<String> = outputs.iter().map(label).collect();
    let chosen = match (wanted, &*outputs) {
        (None, &[only]) => only,
        (None, _) => {
            return Err(format!(
                "has {} outputs ({}): say which one holds the logits, as output = {:?}",
                names.len(),
                names.join(", "),
                names.first().map_or("logits", String::as_str)
            ));
        }
        (Some(wanted), _) => {
            let of_name = names.iter().zip(&outputs).find(|(name, _)| *name == wanted);
            let found = of_name.map(|(_, &outlet)| outlet);
            // A value within the network will do as well.
            found.or_else(|| model.find_outlet_label(wanted)).ok_or_else(|| {
                format!("has no output {wanted:?}: correct `output`; it has {}", names.join(", "))
            })?
        }
    };
    model.select_output_outlets(&[chosen]).map_err(|e| format!("{e:#}"))
}

/// Dimensions (`None`: any) and type of the one input, as far as the file says.
#[expect(clippy::type_complexity, reason = "a pair of two options is not worth a name")]
fn input(model: &InferenceModel) -> Result<(Option<Vec<Option<usize>>>, DatumType), String> {
    let inputs = model.inputs.iter();
    let names: Vec<&str> =
        inputs.filter_map(|i| model.nodes().get(i.node).map(|node| node.name.as_str())).collect();
    if names.len() != 1 {
        let (count, names) = (names.len(), names.join(", "));
        return Err(format!("has {count} inputs ({names}): a teacher has one, the sample"));
    }
    let fact = model.input_fact(0).map_err(|e| format!("{e:#}"))?;
    let size = |d: tract_onnx::tract_hir::infer::DimFact| {
        d.concretize().and_then(|d: TDim| d.to_usize().ok())
    };
    let dims = (!fact.shape.is_open()).then(|| fact.shape.dims().cloned().map(size).collect());
    match fact.datum_type.concretize() {
        None => Ok((dims, DatumType::F32)),
        Some(dtype) if dtype.is_float() || dtype.is_integer() => Ok((dims, dtype)),
        Some(other) => Err(format!("takes {other:?}: a teacher takes numbers")),
    }
}

/// The number of classes, where the output holds that many numbers for each sample.
fn classes(model: &TypedModel, batch: usize) -> Result<usize, String> {
    let fact = model.output_fact(0).map_err(|e| format!("{e:#}"))?;
    let wrong = || {
        format!(
            "writes {fact:?} for {batch} samples: a teacher writes logits [{batch}, classes]; where \
             another value of the network is that, name it as output = \"…\""
        )
    };
    let Some([first, rest @ ..]) = fact.shape.as_concrete() else { return Err(wrong()) };
    let mut sizes = rest.iter().copied().filter(|&size| size != 1);
    let classes = sizes.next().unwrap_or(1);
    let number = fact.datum_type.is_float() && !rest.is_empty();
    if *first != batch || sizes.next().is_some() || !number {
        return Err(wrong());
    }
    Ok(classes)
}

/// The network that hands out what its last softmax over the classes reads: the logits.
fn without_softmax(mut model: TypedModel) -> TractResult<TypedModel> {
    let Some(&output) = model.output_outlets()?.first() else { return Ok(model) };
    let mut node = model.node(output.node);
    // Singleton axes may come and go behind it; they move nothing where only one axis is larger.
    while node.op_is::<AxisOp>()
        && let Some(before) = node.inputs.first()
    {
        node = model.node(before.node);
    }
    let (Some(softmax), Some(&logits)) = (node.op_as::<Softmax>(), node.inputs.first()) else {
        return Ok(model);
    };
    let shape = &model.outlet_fact(logits)?.shape;
    let larger = |&axis: &usize| shape.get(axis).is_some_and(|size| *size != 1.to_dim());
    let over_classes = !softmax.axes.contains(&0)
        && (1..shape.rank()).filter(larger).eq(softmax.axes.iter().copied().filter(larger));
    if softmax.kind == SoftmaxKind::Softmax && over_classes {
        model.select_output_outlets(&[logits])?;
    }
    Ok(model)
}
