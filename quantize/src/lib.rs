//! Turns a float student into int8 or f16: fold batch norms, calibrate on real samples, convert.
//!
//! ```text
//! prepare(f32 graph) → calibrate(samples) → to_int8 / to_f16 → the runtime's own arithmetic
//! ```
#![deny(unsafe_code)]

mod calibration;
mod convert;
mod error;
mod fold;
mod half;
mod lut;
pub mod observer;
pub mod onnx;
mod scheme;
mod sites;

pub use calibration::{Calibration, Calibrator, Range};
pub use convert::to_int8;
pub use error::{Error, Result};
pub use fold::prepare;
pub use half::to_f16;
pub use observer::Method;
pub use sites::{Grid, Sites};
