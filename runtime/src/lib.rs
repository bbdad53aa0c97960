//! Runs hipflask's students: graph, file format, memory plan, kernels, session.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod compiled;
mod dtype;
mod error;
#[cfg(feature = "std")]
pub mod file;
pub mod format;
pub mod golden;
pub mod graph;
pub mod groups;
pub mod input;
pub mod kernels;
#[cfg(feature = "mmap")]
mod mmap;
mod model;
mod plan;
#[cfg(feature = "std")]
pub mod profile;
pub mod quant;
mod session;
mod tensor;
#[cfg(all(feature = "std", not(target_family = "wasm")))]
mod threads;
/// Without `std` there are none but the caller.
#[cfg(not(all(feature = "std", not(target_family = "wasm"))))]
#[path = "threads_none.rs"]
mod threads;

pub use dtype::{DType, Shape};
pub use error::{Error, ErrorKind, Result};
pub use model::Model;
pub use plan::PlannedStep;
pub use session::{Options, Port, Session, View};
pub use tensor::{SharedBytes, Tensor};
