//! Turns a float student into int8, f16 or weights in groups: fold batch norms, calibrate on real
//! samples, convert.
//!
//! ```text
//! prepare(f32 graph) → calibrate(samples) → to_int8 ─┬→ the runtime's own arithmetic
//!                    → to_f16, to_weight_only ───────┘
//! ```
//!
//! Where int8 loses too much, [`recover`] holds what gets it back, and [`recover::Ladder`] tries one
//! after another.
#![deny(unsafe_code)]

mod calibration;
mod convert;
mod error;
mod fold;
mod half;
mod inputs;
mod lut;
pub mod observer;
pub mod onnx;
pub mod recover;
mod report;
mod scheme;
mod sites;
pub mod source;
mod weight_only;

pub use calibration::{Calibration, Calibrator, Range, calibrate};
pub use convert::{to_int8, to_mixed};
pub use error::{Error, Result};
pub use fold::prepare;
pub use half::to_f16;
pub use inputs::Inputs;
pub use observer::Method;
pub use report::{LayerReport, report};
pub use sites::{Grid, Sites};
pub use weight_only::{LEAST_WEIGHTS, to_weight_only};
