//! The ladder: rung by rung more is done for the accuracy of the int8 graph, until it is good enough.
//!
//! Who climbs judges: the ladder makes a candidate, the caller measures it with the runtime's integers
//! and adopts it or not. The next candidate is built on the one adopted last.

use std::collections::BTreeSet;

use hipflask_runtime::graph::Graph;

use super::layers::int8_layers;
use super::{GoOn, correct_biases, equalize, round_weights, sensitivity};
use crate::calibration::{Calibration, calibrate};
use crate::convert::{to_int8, to_mixed};
use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::observer::Method;

/// One way to lose less, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Calibration by one method.
    Plain,
    /// For each value the method with the least error on held samples.
    Observers,
    /// Cross-layer equalization.
    Equalization,
    /// Bias correction.
    BiasCorrection,
    /// Rounding of weights that minimises the layers' output error.
    Rounding,
    /// The layer that costs most stays in f32; then the next one.
    MixedPrecision,
    /// Training as int8, which is the caller's work.
    Training,
}

impl Rung {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Observers => "observers",
            Self::Equalization => "equalization",
            Self::BiasCorrection => "bias correction",
            Self::Rounding => "rounding",
            Self::MixedPrecision => "mixed precision",
            Self::Training => "training",
        }
    }
}

/// Those that the ladder makes.
static RUNGS: [Rung; 6] = [
    Rung::Plain,
    Rung::Observers,
    Rung::Equalization,
    Rung::BiasCorrection,
    Rung::Rounding,
    Rung::MixedPrecision,
];

/// One int8 graph and how it came about.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The rung that made it.
    pub rung: Rung,
    /// What was done, in a few words.
    pub note: String,
    /// The int8 graph.
    pub int8: Graph,
    /// The float graph that it was made of; equalization changes its inner values.
    pub float: Graph,
    /// The ranges of the float graph.
    pub calibration: Calibration,
    /// Layers that stay in f32.
    pub islands: BTreeSet<String>,
    method: Method,
    corrected: bool,
}

/// What is known of a [`Candidate`] beside its graphs, to be kept on disk.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Origin {
    rung: Rung,
    note: String,
    calibration: Calibration,
    islands: BTreeSet<String>,
    method: Method,
    corrected: bool,
}

impl Candidate {
    /// What is to be kept beside `float` and `int8`.
    pub fn origin(&self) -> Origin {
        let Self { rung, note, calibration, islands, method, corrected, .. } = self.clone();
        Origin { rung, note, calibration, islands, method, corrected }
    }

    /// One whose `int8` was trained as such, having begun as `float` with the ranges of `calibration`.
    pub fn trained(float: Graph, calibration: Calibration, int8: Graph, note: String) -> Self {
        let method = Method::default();
        let (rung, islands, corrected) = (Rung::Training, BTreeSet::new(), false);
        Self { rung, note, int8, float, calibration, islands, method, corrected }
    }

    /// The candidate that was kept as `origin` and its two graphs.
    pub fn from_kept(origin: Origin, float: Graph, int8: Graph) -> Self {
        let Origin { rung, note, calibration, islands, method, corrected } = origin;
        Self { rung, note, int8, float, calibration, islands, method, corrected }
    }
}

/// How far a ladder is, to be kept on disk beside the adopted candidate.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Height {
    /// Rungs that were begun.
    rungs: usize,
    sensitive: Option<Vec<String>>,
}

/// What [`Ladder::climb`] found.
pub enum Next {
    /// A graph to judge.
    Candidate(Box<Candidate>),
    /// A rung that changes nothing for this network, and why.
    Skipped(Rung, String),
    /// No rung is left.
    Done,
}

/// Makes candidates one after another.
pub struct Ladder<'a> {
    samples: &'a dyn Inputs,
    held: &'a dyn Inputs,
    go_on: GoOn<'a>,
    /// The one that the next is built on.
    adopted: Candidate,
    /// Rungs, and layers that may still become f32, the most sensitive last; those once that rung is
    /// reached.
    height: Height,
}

impl<'a> Ladder<'a> {
    /// For a graph from [`prepare`](crate::prepare), with calibration and held samples, beginning with
    /// ranges by `method`; `go_on` says whether there is time for more.
    ///
    /// The first candidate is made here, so that there is one whatever the time.
    pub fn new(
        graph: &Graph,
        method: Method,
        samples: &'a dyn Inputs,
        held: &'a dyn Inputs,
        go_on: GoOn<'a>,
    ) -> Result<Self> {
        let calibration = calibrate(graph, method, samples, held)?;
        let adopted = Candidate {
            rung: Rung::Plain,
            note: method.name().into(),
            int8: to_int8(graph, &calibration)?,
            float: graph.clone(),
            calibration,
            islands: BTreeSet::new(),
            method,
            corrected: false,
        };
        let height = Height { rungs: 0, sensitive: None };
        Ok(Self { samples, held, go_on, adopted, height })
    }

    /// One that goes on at `height`, where `adopted` was adopted, with the same samples.
    pub fn resumed(
        height: Height,
        adopted: Candidate,
        samples: &'a dyn Inputs,
        held: &'a dyn Inputs,
        go_on: GoOn<'a>,
    ) -> Self {
        Self { samples, held, go_on, adopted, height }
    }

    /// How far it is.
    pub fn height(&self) -> &Height {
        &self.height
    }

    /// Builds the next candidate; [`Error::Stopped`] when the time is over, after which the ladder has
    /// nothing more to give.
    pub fn climb(&mut self) -> Result<Next> {
        if self.height.sensitive.is_some() {
            return self.island();
        }
        let Some(&rung) = RUNGS.get(self.height.rungs) else { return Ok(Next::Done) };
        if rung != Rung::Plain && !(self.go_on)() {
            return Err(Error::Stopped);
        }
        self.height.rungs += 1;
        if rung == Rung::Plain {
            return Ok(Next::Candidate(Box::new(self.adopted.clone())));
        }
        let mut candidate = Candidate { rung, note: String::new(), ..self.adopted.clone() };
        match rung {
            Rung::Plain | Rung::Training => {}
            Rung::Observers => {
                if candidate.method == Method::Auto {
                    return Ok(Next::Skipped(rung, "they are chosen already".into()));
                }
                candidate.method = Method::Auto;
                self.recalibrate(&mut candidate)?;
                candidate.note = tally(&candidate.calibration.methods);
            }
            Rung::Equalization => {
                let made = equalize(&candidate.float, self.samples, self.go_on)?;
                if made.pairs.is_empty() {
                    return Ok(Next::Skipped(rung, "no two layers follow each other".into()));
                }
                candidate.note = count(made.pairs.len(), "pair of layers", "pairs of layers");
                candidate.float = made.graph;
                self.recalibrate(&mut candidate)?;
            }
            Rung::BiasCorrection => {
                correct_biases(&candidate.float, &mut candidate.int8, self.samples, self.go_on)?;
                candidate.corrected = true;
                let layers = int8_layers(&candidate.float, &candidate.int8).len();
                candidate.note = count(layers, "layer", "layers");
            }
            Rung::Rounding => {
                candidate.int8 = to_int8(&candidate.float, &candidate.calibration)?;
                let Candidate { float, int8, corrected, .. } = &mut candidate;
                let rows = round_weights(float, int8, self.samples, self.go_on)?;
                if *corrected {
                    correct_biases(float, int8, self.samples, self.go_on)?;
                }
                candidate.note = count(rows, "row of weights", "rows of weights");
            }
            Rung::MixedPrecision => {
                let Candidate { float, calibration, .. } = &self.adopted;
                let found = sensitivity(float, calibration, self.samples, self.go_on)?;
                let half = found.len().div_ceil(2);
                let layers = found.into_iter().take(half).rev().map(|found| found.layer);
                self.height.sensitive = Some(layers.collect());
                return self.island();
            }
        }
        Ok(Next::Candidate(Box::new(candidate)))
    }

    /// Builds what comes next on `candidate`.
    pub fn adopt(&mut self, candidate: &Candidate) {
        self.adopted = candidate.clone();
    }

    fn recalibrate(&self, candidate: &mut Candidate) -> Result<()> {
        let Candidate { float, method, .. } = &*candidate;
        candidate.calibration = calibrate(float, *method, self.samples, self.held)?;
        candidate.int8 = to_int8(&candidate.float, &candidate.calibration)?;
        Ok(())
    }

    /// The adopted graph with one more layer in f32.
    fn island(&mut self) -> Result<Next> {
        if !(self.go_on)() {
            return Err(Error::Stopped);
        }
        let Some(layer) = self.height.sensitive.as_mut().and_then(Vec::pop) else {
            return Ok(Next::Done);
        };
        let mut islands = self.adopted.islands.clone();
        islands.insert(layer.clone());
        let Candidate { float, calibration, int8, .. } = &self.adopted;
        let mut mixed = to_mixed(float, calibration, &islands)?;
        carry_layers(int8, &mut mixed);
        Ok(Next::Candidate(Box::new(Candidate {
            rung: Rung::MixedPrecision,
            note: format!("{layer} in f32"),
            int8: mixed,
            islands,
            ..self.adopted.clone()
        })))
    }
}

/// Gives the layers of `to` the rounded weights and corrected biases of `from`, where they are the same
/// layers of the same scales.
fn carry_layers(from: &Graph, to: &mut Graph) {
    let names: Vec<String> = to.nodes.iter().map(|node| node.name.clone()).collect();
    for name in names {
        let tensor = |role: &str| format!("{name}.{role}");
        let same = |role: &str| {
            let both = from.tensors.get(&tensor(role)).zip(to.tensors.get(&tensor(role)));
            both.is_some_and(|(a, b)| a == b)
        };
        if same("scale") && same("multiplier") {
            for role in ["weight", "bias"] {
                let kept = from.tensors[&tensor(role)].clone();
                to.tensors.insert(tensor(role), kept);
            }
        }
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How often each method was chosen, as `mse 7, min-max 2`.
fn tally(methods: &[Method]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for (name, method) in Method::ALL {
        let chosen = methods.iter().filter(|&&m| m == method).count();
        if chosen > 0 {
            counts.push((name, chosen));
        }
    }
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let texts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    texts.join(", ")
}
