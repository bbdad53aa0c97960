//! Opening models: hipflask's own files, and float networks as ONNX.

use std::path::Path;

use anyhow::Result;
use hipflask_quantize::onnx;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::{Model, file};

/// What is in the file at `path`; `.onnx` has neither preprocessing nor card.
pub fn model_file(path: &Path) -> Result<ModelFile> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        return Ok(ModelFile { graph: onnx::open(path)?, preprocess: None, card: Card::default() });
    }
    let bytes = file::open(path)?;
    let name = path.display().to_string();
    Ok(ModelFile::from_shared(bytes, &LoadLimits::default()).map_err(|e| e.in_file(&name))?)
}

/// The file at `path`, ready to run.
pub fn model(path: &Path) -> Result<Model> {
    let name = path.display().to_string();
    Ok(Model::new(model_file(path)?).map_err(|e| e.in_file(&name))?)
}
