//! Distils a large teacher network into a small student with candle.
#![deny(unsafe_code)]

mod caught;
pub mod data;
pub mod device;
mod error;
pub mod evaluate;
pub mod fingerprint;
pub mod interpreter;
pub mod loss;
pub mod network;
pub mod nn;
pub mod optim;
pub mod random;
pub mod soft_targets;
pub mod suggest;
pub mod teacher;
pub mod tract;
pub mod trainer;

pub use error::{Error, ErrorKind, Result};
