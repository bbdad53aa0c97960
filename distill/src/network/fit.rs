//! The widest network that fits a budget, and what a student will take before it is trained.

use hipflask_quantize::{Calibration, Method, Range, prepare, to_int8};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{Model, Options, Session};

use super::{HIDDEN, NetworkSpec, SIZES, SizeBudget, WIDTHS};
use crate::{Error, ErrorKind, Result};

/// Bytes left for what a file says besides network, class names and preprocessing: data set, teacher,
/// figures.
const CARD_BYTES: u64 = 512;
/// Bytes left for each value, whose measured scale may need more digits than the one stood in.
const VALUE_BYTES: u64 = 2;
/// Parameters of the largest network that a budget of memory or of work chooses; neither need grow
/// with them, and building a network of 10⁹ to learn that would take gigabytes.
const MOST_PARAMETERS: u64 = 1 << 24;

/// What a student's file will hold that is known before its training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Described<'a> {
    /// Class names.
    pub labels: &'a [String],
    /// How samples become inputs.
    pub preprocess: Option<&'a Preprocess>,
}

/// What a student takes on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most bytes of its file: what measured scales and figures may add is counted.
    pub file_bytes: u64,
    /// Bytes for the values of an inference ([`Session::memory_bytes`]) with this machine's kernels.
    pub memory_bytes: u64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
}

impl Sizes {
    /// Those of `graph`, a student in a format of boards whose weights and scales may still change:
    /// they take the same whatever they are.
    pub fn of(graph: &Graph, described: Described<'_>) -> Result<Self> {
        let model = Model::from_graph(graph.clone())?;
        let session = Session::new(&model, &Options::default())?;
        let card = Card { labels: described.labels.to_vec(), ..Card::default() };
        let preprocess = described.preprocess.cloned();
        let file = ModelFile { graph: graph.clone(), preprocess, card }.to_bytes().len() as u64;
        Ok(Self {
            file_bytes: file + graph.values.len() as u64 * VALUE_BYTES + CARD_BYTES,
            memory_bytes: session.memory_bytes() as u64,
            macs: model.graph().macs(),
        })
    }
}

/// The int8 form that the f32 student `graph` will have, with ranges that nothing measured: its sizes
/// and its plan are those that it will have.
pub fn untrained_int8(graph: &Graph) -> Result<Graph> {
    let convert = || -> Result<Graph, hipflask_quantize::Error> {
        let prepared = prepare(graph)?;
        let ranges = vec![Range { min: 0.0, max: 1.0 }; prepared.values.len()];
        let methods = vec![Method::MinMax; prepared.values.len()];
        to_int8(&prepared, &Calibration { ranges, methods, samples: 1 })
    };
    convert().map_err(|error| {
        let message = format!("the network has no int8 form: {error}");
        Error::new(ErrorKind::Config, "student", message)
    })
}

/// A network that was chosen to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The network with its size.
    pub spec: NetworkSpec,
    /// Its trained parameters.
    pub parameters: usize,
    /// What it takes in int8; `None` where parameters were counted.
    pub int8: Option<Sizes>,
}

impl SizeBudget {
    /// The widest network of the kind of `spec` that fits, by bisection: of an `mlp` with hidden
    /// layers in the same proportions.
    ///
    /// `described` is what its file will hold. Fails where even the narrowest does not fit, and where
    /// there is no width to choose.
    pub fn widest(
        self,
        spec: &NetworkSpec,
        input: &[usize],
        described: Described<'_>,
    ) -> Result<Fit> {
        let refuse = |message: String| Error::new(ErrorKind::Config, "size_budget", message);
        if spec.width.is_some() {
            return Err(refuse("chooses the width: leave `width` out".into()));
        }
        let Some(name) = spec.network.as_deref() else {
            let message = "chooses the width of a network by name: `layers` have their own sizes";
            return Err(refuse(message.into()));
        };
        if name == "mlp" && spec.hidden.as_ref().is_some_and(Vec::is_empty) {
            return Err(refuse("chooses the sizes in `hidden`, and there is none".into()));
        }
        let (least, most) = match name {
            "mlp" => (*SIZES.start(), *SIZES.end()),
            _ => (*WIDTHS.start(), *WIDTHS.end()),
        };
        let narrowest = sized(spec, least);
        let Some(mut best) = self.try_fit(&narrowest, input, described)? else {
            let parameters = narrowest.plan(input, described.labels.len())?.0.parameters();
            let sizes = || sizes(&narrowest, input, described);
            let needed = match self {
                Self::Bytes(_) => format!("{} bytes", sizes()?.file_bytes),
                Self::Ram(_) => format!("{} bytes of memory", sizes()?.memory_bytes),
                Self::Macs(_) => format!("{} MACs", sizes()?.macs),
                Self::Parameters(_) => format!("{parameters} parameters"),
            };
            return Err(refuse(format!(
                "{self} is too small: {} takes {needed}; allow more, or choose another network or \
                 a smaller depth",
                narrowest.describe()
            )));
        };
        // Whatever cannot be built is too large: the narrowest was.
        let (mut fits, mut too_large) = (least, most + 1);
        while too_large - fits > 1 {
            // Doubles first: most budgets are far below the largest network.
            let middle = (2 * fits).min(fits + (too_large - fits) / 2);
            match self.try_fit(&sized(spec, middle), input, described).ok().flatten() {
                Some(fit) => (fits, best) = (middle, fit),
                None => too_large = middle,
            }
        }
        Ok(best)
    }

    fn try_fit(
        self,
        spec: &NetworkSpec,
        input: &[usize],
        described: Described<'_>,
    ) -> Result<Option<Fit>> {
        // Counted before anything is allocated.
        let parameters = spec.plan(input, described.labels.len())?.0.parameters();
        let most = match self {
            Self::Bytes(most) | Self::Parameters(most) => most,
            Self::Ram(_) | Self::Macs(_) => MOST_PARAMETERS,
        };
        if parameters as u64 > most {
            return Ok(None);
        }
        let int8 = match self {
            Self::Parameters(_) => None,
            _ => Some(sizes(spec, input, described)?),
        };
        let fits = int8.is_none_or(|sizes| match self {
            Self::Bytes(most) => sizes.file_bytes <= most,
            Self::Ram(most) => sizes.memory_bytes <= most,
            Self::Macs(most) => sizes.macs <= most,
            Self::Parameters(_) => true,
        });
        Ok(fits.then(|| Fit { spec: spec.clone(), parameters, int8 }))
    }
}

/// `spec` with the width `size`, or hidden layers of which the largest is that.
fn sized(spec: &NetworkSpec, size: usize) -> NetworkSpec {
    if spec.network.as_deref() != Some("mlp") {
        return NetworkSpec { width: Some(size), ..spec.clone() };
    }
    let hidden = spec.hidden.as_deref().unwrap_or(&HIDDEN);
    let largest = hidden.iter().copied().max().unwrap_or(1).max(1);
    let scaled = hidden.iter().map(|&units| (units * size).div_ceil(largest).max(1));
    NetworkSpec { hidden: Some(scaled.collect()), ..spec.clone() }
}

/// What the network takes in int8.
fn sizes(spec: &NetworkSpec, input: &[usize], described: Described<'_>) -> Result<Sizes> {
    let graph = spec.build(input, described.labels.len(), 0)?;
    Sizes::of(&untrained_int8(&graph)?, described)
}
