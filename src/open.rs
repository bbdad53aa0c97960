//! Opening models: hipflask's own files, and ONNX.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_quantize::onnx::{self, OnnxFile};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{Model, file};

/// Key of the preprocessing in the metadata of an ONNX file that hipflask wrote, as JSON.
const PREPROCESS: &str = "hipflask.preprocess";
/// Key of the card there.
const CARD: &str = "hipflask.card";

/// What is in the file at `path`; `.onnx` of others has neither preprocessing nor card.
pub fn model_file(path: &Path) -> Result<ModelFile> {
    if is_onnx(path) {
        return from_onnx(path);
    }
    let bytes = file::open(path)?;
    let name = path.display().to_string();
    Ok(ModelFile::from_shared(bytes, &LoadLimits::default()).map_err(|e| e.in_file(&name))?)
}

fn from_onnx(path: &Path) -> Result<ModelFile> {
    let OnnxFile { graph, metadata } = onnx::read(path)?;
    let place = |key: &str| format!("{}: metadata {key:?}", path.display());
    let preprocess: Option<Preprocess> = match metadata.get(PREPROCESS) {
        Some(text) => Some(serde_json::from_str(text).with_context(|| place(PREPROCESS))?),
        None => None,
    };
    if let (Some(preprocess), Some(&input)) = (&preprocess, graph.inputs.first()) {
        let shape = &graph.value(input).shape;
        preprocess.check(graph.layout, shape).with_context(|| place(PREPROCESS))?;
    }
    let card: Card = match metadata.get(CARD) {
        Some(text) => serde_json::from_str(text).with_context(|| place(CARD))?,
        None => Card::default(),
    };
    Ok(ModelFile { graph, preprocess, card })
}

/// `file` as the bytes of an ONNX file.
pub fn to_onnx(file: &ModelFile) -> Result<Vec<u8>> {
    let mut metadata = BTreeMap::new();
    if let Some(preprocess) = &file.preprocess {
        metadata.insert(PREPROCESS.to_string(), serde_json::to_string(preprocess)?);
    }
    if file.card != Card::default() {
        metadata.insert(CARD.to_string(), serde_json::to_string(&file.card)?);
    }
    Ok(onnx::to_bytes(&file.graph, &metadata)?)
}

/// Whether the name of a file says that it is ONNX.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// The file at `path`, ready to run.
pub fn model(path: &Path) -> Result<Model> {
    let name = path.display().to_string();
    Ok(Model::new(model_file(path)?).map_err(|e| e.in_file(&name))?)
}
