//! An ONNX file run by tract: a second opinion beside the runtime.

mod compare;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike, bail};

use crate::caught::caught;
use crate::{Error, ErrorKind, Result};

pub use compare::{Difference, compare};

/// A network as tract runs it, one sample at a time.
pub struct Tract {
    name: String,
    plan: Arc<TypedRunnableModel>,
    /// Of each input, with a batch of 1.
    inputs: Vec<Vec<usize>>,
}

impl Tract {
    /// Loads the file at `path`, with weights from files beside it where it names some.
    ///
    /// Its inputs are floats of known size, but for the batch, which becomes 1. Fails with
    /// [`ErrorKind::Teacher`] where tract cannot run it.
    pub fn open(path: &Path) -> Result<Self> {
        let framework = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        Self::load(&path.display().to_string(), || framework.model_for_path(path))
    }

    /// As [`Tract::open`], from the bytes of a file without external data; `name` is for messages.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let framework = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        Self::load(name, || framework.model_for_read(&mut &*bytes))
    }

    fn load(name: &str, read: impl FnOnce() -> TractResult<InferenceModel>) -> Result<Self> {
        let fail = |why: String| {
            Error::new(ErrorKind::Teacher, name, format!("tract cannot run it: {why}"))
        };
        let (plan, inputs) =
            caught(|| prepared(read()?)).map_err(fail)?.map_err(|e| fail(format!("{e:#}")))?;
        Ok(Self { name: name.into(), plan, inputs })
    }

    /// Shapes of the inputs, with a batch of 1.
    pub fn inputs(&self) -> &[Vec<usize>] {
        &self.inputs
    }

    /// Whether input `index` is an image `[h, w, c]` with the channels last in the file too; where
    /// that cannot be told from the shape, it is PyTorch's `[c, h, w]`.
    pub fn channels_last(&self, index: usize, [h, w, c]: [usize; 3]) -> bool {
        let shape =
            self.inputs.get(index).map_or(&[][..], |shape| shape.get(1..).unwrap_or_default());
        shape == [h, w, c] && shape != [c, h, w]
    }

    /// All outputs for one sample, from the values of each input in the file's order.
    ///
    /// Fails where their numbers do not fit, or tract does.
    pub fn run(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let fail = |why: String| Error::new(ErrorKind::Teacher, &self.name, why);
        if inputs.len() != self.inputs.len() {
            return Err(fail(format!("has {} inputs, not {}", self.inputs.len(), inputs.len())));
        }
        let run = || -> TractResult<Vec<Vec<f32>>> {
            let mut tensors = tvec!();
            for (shape, values) in self.inputs.iter().zip(inputs) {
                tensors.push(Tensor::from_shape(shape, values)?.into_tvalue());
            }
            let outputs = self.plan.run(tensors)?;
            let floats = outputs.iter().map(|output| {
                let output = output.cast_to::<f32>()?;
                Ok(output.to_plain_array_view::<f32>()?.iter().copied().collect())
            });
            floats.collect()
        };
        let failed = |why: String| fail(format!("tract failed: {why}"));
        caught(run).map_err(failed)?.map_err(|e| failed(format!("{e:#}")))
    }
}

/// The model ready to run, and the shapes of its inputs.
fn prepared(mut model: InferenceModel) -> TractResult<(Arc<TypedRunnableModel>, Vec<Vec<usize>>)> {
    let mut inputs = Vec::new();
    for index in 0..model.inputs.len() {
        let mut dims: Vec<usize> = Vec::new();
        for (axis, dim) in model.input_fact(index)?.shape.dims().cloned().enumerate() {
            let size: Option<TDim> = dim.concretize();
            dims.push(match (axis, size) {
                (0, _) => 1,
                (_, Some(size)) => size.to_usize()?,
                (_, None) => bail!("dimension {axis} of input {index} has no fixed size"),
            });
        }
        model.set_input_fact(index, f32::fact(&dims).into())?;
        inputs.push(dims);
    }
    Ok((model.into_optimized()?.into_runnable()?, inputs))
}
