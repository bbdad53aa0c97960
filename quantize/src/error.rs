//! The one error of this crate.

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a network could not be quantized; the text names the place and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Calibration was given no samples.
    #[error(
        "calibration: no samples were given: int8 needs real inputs to find its ranges; give it a data set with at least one sample"
    )]
    NoSamples,
    /// A calibration sample has the wrong size.
    #[error("calibration: sample {index} has {got} values, the network's input has {wanted}")]
    SampleSize {
        /// Number of the sample.
        index: usize,
        /// Values in it.
        got: usize,
        /// Values that the network takes.
        wanted: usize,
    },
    /// An activation became NaN or infinite.
    #[error(
        "calibration: value {value:?} is NaN or infinite for sample {sample}: the network's weights or this input are broken"
    )]
    NotFinite {
        /// Name of the value.
        value: String,
        /// Number of the sample.
        sample: usize,
    },
    /// A weight does not fit half precision or is NaN.
    #[error(
        "tensor {tensor:?}: holds {found}, which {format} cannot represent: check the training run for divergence"
    )]
    Weight {
        /// Name of the tensor.
        tensor: String,
        /// The offending value.
        found: f32,
        /// The format asked for.
        format: &'static str,
    },
    /// There are no such groups.
    #[error("{0}")]
    Groups(String),
    /// The calibration belongs to another graph.
    #[error(
        "calibration: has ranges of {got} values, the network has {wanted}: calibrate this network"
    )]
    OtherGraph {
        /// Ranges in the calibration.
        got: usize,
        /// Values in the network.
        wanted: usize,
    },
    /// Time was over before the work was done.
    #[error("stopped: the time that was given is over: give more, or fewer calibration samples")]
    Stopped,
    /// The runtime refused the graph.
    #[error(transparent)]
    Runtime(#[from] hipflask_runtime::Error),
}
