//! Optimizers, learning-rate schedules and gradient clipping, with PyTorch's formulas.

mod clip;
mod optimizer;
mod rule;
mod schedule;
mod spec;
#[cfg(test)]
mod tests;

pub use clip::clip_grad_norm;
pub use optimizer::{Optimizer, Parameter};
pub use schedule::ScheduleSpec;
pub use spec::OptimizerSpec;
