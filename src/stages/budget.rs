//! Whether a student fits its board: what it takes, held against `[budget]` or `--fit`, and which layer
//! is to blame.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_distill::data::DataSet;
use hipflask_distill::network::{SizeBudget, Sizes, untrained_int8};
use hipflask_runtime::graph::{Graph, Node};
use hipflask_runtime::{Model, Options, PlannedStep, Session, View};

use super::convert::without_samples;
use super::measure::{any_input, latency};
use super::run::Run;
use super::student;
use crate::recipe::Format;
use crate::recipe::budget::{BudgetTable, Bytes, Latency, Macs};
use crate::report::model::Gate;

/// Inferences whose median is held against a limit.
const TIMED: usize = 200;

/// A student will not fit its board, and was not trained.
#[derive(Debug)]
pub struct OverBudget(String);

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OverBudget {}

/// A size of a file: before its model is trained, a bound.
#[derive(Clone, Copy, Debug)]
pub enum FileSize {
    /// As it is on the disk.
    Exact(u64),
    /// With what measured scales and figures may add.
    AtMost(u64),
}

/// The gates of `limits` for the model file at `path`, which texts call `name`.
pub fn of_file(limits: &BudgetTable, name: &str, path: &Path) -> Result<Vec<Gate>> {
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    let file = path.display();
    let bytes = std::fs::metadata(path).with_context(|| format!("{file}: cannot be read"))?.len();
    gates(limits, name, &Model::open(path)?, FileSize::Exact(bytes))
}

/// The gates of `limits` for the student that the run will put on the board, before it is trained:
/// `student`, in the format that the recipe makes for that.
pub fn of_untrained(
    limits: &BudgetTable,
    run: &Run,
    data: &DataSet,
    student: &Graph,
) -> Result<Vec<Gate>> {
    let table = &run.recipe.quantize;
    let format = match &run.recipe.qat {
        Some(_) => Some(Format::Int8),
        None => Format::for_board(&table.to),
    };
    let graph = match format {
        Some(Format::Int8) => untrained_int8(student)?,
        Some(format) => without_samples(student, format, table.group_size)?,
        None => student.clone(),
    };
    let sizes = Sizes::of(&graph, student::described(data))?;
    let name = format!("the student in {}", format.map_or("f32", Format::name));
    gates(limits, &name, &Model::from_graph(graph)?, FileSize::AtMost(sizes.file_bytes))
}

/// Fails with [`OverBudget`] where the student of the run will be over the recipe's budget.
pub fn check_untrained(run: &Run, data: &DataSet, student: &Graph) -> Result<()> {
    let limits = &run.recipe.budget;
    if limits.is_empty() {
        return Ok(());
    }
    let gates = of_untrained(limits, run, data, student)?;
    let over: Vec<&str> = gates.iter().filter(|g| !g.passed).map(|g| g.text.as_str()).collect();
    if over.is_empty() {
        return Ok(());
    }
    let name = &run.recipe.name;
    let message = format!("{name}: over [budget], so nothing was trained: {}", over.join("; "));
    Err(OverBudget(message).into())
}

/// A gate for each limit; the text of one that does not hold names the layer to blame and what to do.
pub fn gates(limits: &BudgetTable, name: &str, model: &Model, file: FileSize) -> Result<Vec<Gate>> {
    let mut session = Session::new(model, &Options::default())?;
    let steps: Vec<PlannedStep> = session.steps().collect();
    let graph = model.graph();
    let mut gates = Vec::new();
    if let Some(Bytes(limit)) = limits.ram {
        let (needed, arena, scratch) =
            (session.memory_bytes(), session.arena_bytes(), session.scratch_bytes());
        let found = format!("{name} takes {needed} bytes of memory for its values");
        gates.push(gate("ram", (limit as f64, needed as f64), &found, &limit.to_string(), || {
            let peak = blame(&steps, " bytes", |step| step.alive_bytes as u64);
            let scratch_for = blame(&steps, " bytes", |step| step.scratch_bytes as u64);
            let work = match scratch {
                0 => String::new(),
                _ => format!(", working memory of {scratch} bytes for {scratch_for}"),
            };
            Ok(format!(
                "arena of {arena} bytes, its peak at {peak}{work}; {}",
                advice(SizeBudget::Ram(limit))
            ))
        })?);
    }
    if let Some(Bytes(limit)) = limits.flash {
        let (bytes, up_to) = match file {
            FileSize::Exact(bytes) => (bytes, ""),
            FileSize::AtMost(bytes) => (bytes, "up to "),
        };
        let found = format!("{name} is a file of {up_to}{bytes} bytes");
        gates.push(gate(
            "flash",
            (limit as f64, bytes as f64),
            &found,
            &limit.to_string(),
            || {
                let layer = blame(&graph.nodes, " bytes", |node| graph.node_bytes(node) as u64);
                Ok(format!("most weights in {layer}; {}", advice(SizeBudget::Bytes(limit))))
            },
        )?);
    }
    if let Some(Macs(limit)) = limits.macs {
        let macs = graph.macs();
        let found = format!("{name} takes {macs} MACs");
        gates.push(gate("macs", (limit as f64, macs as f64), &found, &limit.to_string(), || {
            let layer = blame(&graph.nodes, "", |node| graph.node_macs(node));
            Ok(format!("most of them in {layer}; {}", advice(SizeBudget::Macs(limit))))
        })?);
    }
    if let Some(Latency(limit)) = limits.latency {
        let p50 = latency(&mut session, TIMED)?.p50;
        let isa = session.isa();
        let found = format!(
            "{name} takes {p50:.1} µs on this machine ({isa}, one thread, median of {TIMED})"
        );
        gates.push(gate("latency", (limit, p50), &found, &format!("{limit} µs"), || {
            let input = any_input(&session);
            let profile = session.profile(&[View::F32(&input)], TIMED)?;
            let slowest = profile.steps.iter().max_by(|a, b| a.share.total_cmp(&b.share));
            let layer = slowest.map_or_else(String::new, |time| {
                format!("layer {:?} ({:.0} % of it)", time.step.name, time.share * 100.0)
            });
            Ok(format!("most of it in {layer}; a smaller size_budget in [student] is faster"))
        })?);
    }
    Ok(gates)
}

/// The gate `key`: `found` is at most a limit, or `why` not.
fn gate(
    key: &str,
    (limit, value): (f64, f64),
    found: &str,
    most: &str,
    why: impl FnOnce() -> Result<String>,
) -> Result<Gate> {
    let passed = value <= limit;
    let mut text = format!("{found}, at most {most} ({key})");
    if !passed {
        text += &format!(": {}", why()?);
    }
    Ok(Gate { name: key.into(), limit, value: Some(value), passed, text })
}

fn advice(budget: SizeBudget) -> String {
    format!(
        "make it narrower: size_budget = \"{budget}\" in [student] instead of width takes the widest \
         network that fits"
    )
}

/// What has a name and a cost.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Node {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for PlannedStep {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The first of those that cost most, with its cost in `unit`.
fn blame<T: Named>(layers: &[T], unit: &str, cost: impl Fn(&T) -> u64) -> String {
    let most = layers.iter().map(&cost).max().unwrap_or(0);
    let found = layers.iter().find(|layer| cost(layer) == most);
    let name = found.map_or("", Named::name);
    format!("layer {name:?} ({most}{unit})")
}
