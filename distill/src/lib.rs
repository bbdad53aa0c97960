//! Distils a large teacher network into a small student with candle.
#![deny(unsafe_code)]

pub mod data;
mod error;
pub mod evaluate;
mod fingerprint;
pub mod interpreter;
pub mod loss;
pub mod nn;
pub mod optim;
pub mod random;
pub mod teacher;

pub use error::{Error, ErrorKind, Result};
