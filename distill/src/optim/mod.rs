//! Optimizers, learning-rate schedules, gradient clipping, loss scaling and moving averages, with
//! PyTorch's formulas where it has them.

mod clip;
mod ema;
mod optimizer;
mod rule;
mod scale;
mod schedule;
mod spec;
#[cfg(test)]
mod tests;

pub use clip::clip_grad_norm;
pub use ema::{Average, decay_of};
pub use optimizer::{Optimizer, Parameter};
pub use scale::LossScale;
pub use schedule::{Position, ScheduleSpec};
pub use spec::OptimizerSpec;
