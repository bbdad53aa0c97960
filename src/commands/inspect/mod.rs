//! `inspect`: layers, sizes and memory of a model, or of two side by side; the nodes of a recipe's
//! networks.

mod check;
mod dot;
mod fit;
mod pair;
mod recipe;
mod table;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::format::Card;
use hipflask_runtime::groups::Groups;
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{DType, Model, Options, PlannedStep, Session, Shape};
use serde::Serialize;

use super::{open_data, print_json};
use crate::args::{Common, DataArgs, InspectArgs};
use crate::open;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::report::layers::Layers;
use crate::stages::layers;

/// What is in a model file, as it runs on a device.
#[derive(Debug, Serialize)]
struct Inspection {
    file: String,
    file_bytes: u64,
    network: String,
    input: Vec<Shape>,
    output: Vec<Shape>,
    layers: Vec<Layer>,
    /// How and where the layers are computed here.
    plan: Vec<PlannedStep>,
    parameters: usize,
    macs: u64,
    weight_bytes: usize,
    arena_bytes: usize,
    scratch_bytes: usize,
    /// What a session takes for the values of an inference: both, and room to align them.
    memory_bytes: usize,
    isa: &'static str,
    preprocess: Option<Preprocess>,
    card: Card,
    /// What it does to each layer of the float network beside it, where samples were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<Layers>,
}

/// One node.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    /// ReLU or ReLU6 that it ends with.
    activation: Option<&'static str>,
    /// Of its output.
    shape: Shape,
    /// Of its output.
    dtype: DType,
    /// Of its weights; none has none.
    weights: Option<DType>,
    /// How these are grouped, if they are.
    groups: Option<Groups>,
    macs: u64,
    weight_bytes: usize,
    /// Of an int8 output.
    scale: Option<f32>,
    zero_point: Option<i8>,
}

impl Layer {
    /// `conv2d + relu`
    fn operation(&self) -> String {
        match self.activation {
            Some(activation) => format!("{} + {activation}", self.op),
            None => self.op.into(),
        }
    }

    /// `F16`, or `w4/32` of 4-bit weights in groups of 32.
    fn weights(&self) -> String {
        match (self.groups, self.weights) {
            (Some(groups), _) => format!("{}/{}", groups.name(), groups.size),
            (None, Some(dtype)) => dtype.to_string(),
            (None, None) => "-".into(),
        }
    }
}

/// Runs the command.
pub fn run(args: &InspectArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    if let Some(limits) = &args.fit {
        return fit::run(&args.model, limits, *common, out);
    }
    if is_recipe(&args.model) {
        recipe::write(&args.model, *common, out)?;
        return Ok(Outcome::Done);
    }
    let model = open::model(&args.model)?;
    if args.dot {
        write!(out, "{}", dot::graph(&model))?;
        return Ok(Outcome::Done);
    }
    if args.check {
        return check::run(&args.model, model.graph(), *common, out);
    }
    let first = inspect(&args.model, &model)?;
    let second = match &args.other {
        Some(other) => {
            let mut second = inspect(other, &open::model(other)?)?;
            if let Some(recipe) = &args.data {
                second.quantization = Some(quantization(&args.model, other, recipe, *common)?);
            }
            Some(second)
        }
        None => None,
    };
    match (second, common.json) {
        (None, true) => print_json(out, &first)?,
        (None, false) => table::write(&first, out)?,
        (Some(second), true) => print_json(out, &[first, second])?,
        (Some(second), false) => pair::write(&first, &second, out)?,
    }
    Ok(Outcome::Done)
}

/// What the model at `second` does to each layer of that at `first`, on samples of a recipe.
fn quantization(first: &Path, second: &Path, recipe: &Path, common: Common) -> Result<Layers> {
    let data = DataArgs { data: Some(recipe.into()), set: Vec::new() };
    let recipe = Recipe::load(data.data.as_deref(), &data.set)?;
    let samples = open_data(&data, &recipe, Progress::new(&common))?;
    let (float, other) = (open::model_file(first)?, open::model_file(second)?);
    let [name, other_name] = [first, second].map(|path| path.display().to_string());
    layers::of_files((&float, &name), (&other, &other_name), &recipe, &samples)
}

fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn inspect(path: &Path, model: &Model) -> Result<Inspection> {
    let file = path.display().to_string();
    let metadata = std::fs::metadata(path).with_context(|| format!("{file}: cannot be read"))?;
    let session = Session::new(model, &Options::default())?;
    let graph = model.graph();
    let layers = graph.nodes.iter().map(|node| {
        let value = graph.value(node.output);
        Layer {
            name: node.name.clone(),
            op: node.op.name(),
            activation: node.activation.map(hipflask_runtime::graph::Activation::name),
            shape: value.shape.clone(),
            dtype: value.dtype,
            weights: graph.weight(node, "weight").map(hipflask_runtime::Tensor::dtype),
            groups: node.op.groups(),
            macs: graph.node_macs(node),
            weight_bytes: graph.node_bytes(node),
            scale: value.quant.map(|q| q.scale),
            zero_point: value.quant.map(|q| q.zero_point),
        }
    });
    Ok(Inspection {
        file_bytes: metadata.len(),
        network: graph.name.clone(),
        input: session.inputs().iter().map(|port| port.shape.clone()).collect(),
        output: session.outputs().iter().map(|port| port.shape.clone()).collect(),
        layers: layers.collect(),
        plan: session.steps().collect(),
        parameters: graph.parameters(),
        macs: graph.macs(),
        weight_bytes: graph.weight_bytes(),
        arena_bytes: session.arena_bytes(),
        scratch_bytes: session.scratch_bytes(),
        memory_bytes: session.memory_bytes(),
        isa: session.isa().name(),
        preprocess: model.preprocess().cloned(),
        card: model.card().clone(),
        quantization: None,
        file,
    })
}
