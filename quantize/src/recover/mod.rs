//! Getting back what int8 loses: equalization, bias correction, rounding, and layers in f32.
//!
//! Everything here works on a prepared float graph and the int8 graph made of it, whose layers have the
//! same names, and looks at real samples one at a time.

mod bias_correction;
mod equalize;
mod factor;
mod ladder;
mod layers;
mod patches;
mod rounding;
mod sensitivity;

pub use bias_correction::correct_biases;
pub use equalize::{Equalized, equalize};
pub use ladder::{Candidate, Height, Ladder, Next, Origin, Rung};
pub use rounding::{LONGEST_ROW, round_weights};
pub use sensitivity::{Sensitivity, sensitivity};

use crate::error::{Error, Result};

/// Asked between two pieces of work: whether there is time for more.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

fn check(go_on: GoOn<'_>) -> Result<()> {
    if go_on() { Ok(()) } else { Err(Error::Stopped) }
}
