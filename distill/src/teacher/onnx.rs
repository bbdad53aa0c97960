//! An ONNX classifier as a teacher, run by tract.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::Teacher;
use super::samples::by_sample;
use crate::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// A classifier that reads one sample `[1, …]` in f32 and writes one row of logits.
pub struct OnnxTeacher {
    name: String,
    /// One sample at a time: tract was half as fast with batches of 32 (ResNet-20, one thread).
    plan: Arc<TypedRunnableModel>,
    /// Of a sample.
    shape: Vec<usize>,
    classes: usize,
    preprocess: Option<Preprocess>,
    fingerprint: String,
}

impl OnnxTeacher {
    /// Loads the file at `path` for samples of `shape`, as `[c, h, w]`.
    ///
    /// Its one input must be `[n, …]` with n 1 or dynamic, its one output `[n, classes]`. A
    /// softmax at its end is left out, so that the answers are logits. `preprocess` is how it wants
    /// bytes; `None`: as the data set says.
    pub fn open(path: &Path, shape: &[usize], preprocess: Option<Preprocess>) -> Result<Self> {
        let at = path.display().to_string();
        let bytes = hipflask_runtime::file::open(path)?;
        let bytes: &[u8] = (*bytes).as_ref();
        let fail = |message| Error::new(ErrorKind::Teacher, &at, message);
        let (plan, classes) = plan(bytes, shape).map_err(fail)?;
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(bytes);
        let wishes = serde_json::to_vec(&preprocess).expect("plain data always serializes");
        fingerprint.bytes(&wishes);
        Ok(Self {
            name: super::open::file_name(path),
            plan,
            shape: shape.to_vec(),
            classes,
            preprocess,
            fingerprint: fingerprint.finish(),
        })
    }

    /// Fills `logits` for one sample.
    fn answer(&self, sample: &[f32], logits: &mut [f32]) -> TractResult<()> {
        let shape = [&[1], &self.shape[..]].concat();
        let input = tract_onnx::prelude::Tensor::from_shape(&shape, sample)?;
        let outputs = self.plan.run(tvec!(input.into()))?;
        let output = outputs[0].to_plain_array_view::<f32>()?;
        for (logit, &value) in logits.iter_mut().zip(output.iter()) {
            *logit = value;
        }
        Ok(())
    }
}

impl Teacher for OnnxTeacher {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        by_sample(&self.name, images, &self.shape, self.classes, |sample, logits| {
            let failed = |e| Error::new(ErrorKind::Teacher, &self.name, format!("{e:#}"));
            self.answer(sample, logits).map_err(failed)
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }
}

/// The optimised network for one sample, and its number of classes.
fn plan(bytes: &[u8], shape: &[usize]) -> Result<(Arc<TypedRunnableModel>, usize), String> {
    let unread = |e: TractError| {
        format!("cannot be read ({e:#}); a teacher in ONNX keeps its weights in the file itself")
    };
    // Shapes that the file states for later values may carry its own batch size.
    let framework = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let model = framework.model_for_read(&mut &*bytes).map_err(unread)?;
    check_input(&model, shape)?;
    let sample = [&[1], shape].concat();
    let typed = model
        .with_input_fact(0, f32::fact(&sample).into())
        .and_then(InferenceModelExt::into_typed)
        .map_err(|e| format!("does not fit samples of {shape:?}: {e:#}"))?;
    let unfit = |e: TractError| format!("cannot be run: {e:#}");
    let typed = without_softmax(typed).map_err(unfit)?;
    let fact = typed.output_fact(0).map_err(unfit)?;
    let classes = match fact.shape.as_concrete() {
        Some(&[1, classes]) if fact.datum_type == DatumType::F32 => classes,
        _ => {
            return Err(format!(
                "writes {fact:?} for one sample: a teacher writes [1, classes] in f32"
            ));
        }
    };
    let plan = typed.into_optimized().and_then(IntoRunnable::into_runnable).map_err(unfit)?;
    Ok((plan, classes))
}

/// Whether what the file says of its input allows one sample of `shape` in f32.
fn check_input(model: &InferenceModel, shape: &[usize]) -> Result<(), String> {
    let sample = [&[1], shape].concat();
    let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
    if (inputs, outputs) != (1, 1) {
        return Err(format!(
            "has {inputs} inputs and {outputs} outputs: a teacher has one of each, sample and logits"
        ));
    }
    let fact = model.input_fact(0).map_err(|e| format!("{e:#}"))?;
    let dims: Vec<Option<usize>> =
        fact.shape.dims().map(|d| d.concretize().and_then(|d| d.to_usize().ok())).collect();
    let fits = fact.shape.is_open()
        || (dims.len() == sample.len()
            && dims.iter().zip(&sample).all(|(dim, size)| dim.is_none_or(|dim| dim == *size)));
    if !fits {
        let dims: Vec<String> =
            dims.iter().map(|d| d.map_or("?".into(), |size| size.to_string())).collect();
        let batch = match dims.first().map(String::as_str) {
            None | Some("1" | "?") => "",
            _ => "; export it with batch 1 or a dynamic batch",
        };
        return Err(format!("takes [{}], the data set gives {sample:?}{batch}", dims.join(", ")));
    }
    match fact.datum_type.concretize() {
        None | Some(DatumType::F32) => Ok(()),
        Some(other) => Err(format!("takes {other:?}: a teacher takes f32")),
    }
}

/// The network that hands out what its last softmax over the classes reads: the logits.
fn without_softmax(mut model: TypedModel) -> TractResult<TypedModel> {
    let node = model.node(model.output_outlets()?[0].node);
    let over_classes = |op: &Softmax| op.kind == SoftmaxKind::Softmax && op.axes[..] == [1];
    if node.op_as::<Softmax>().is_some_and(over_classes) {
        let logits = node.inputs[0];
        model.select_output_outlets(&[logits])?;
    }
    Ok(model)
}
