//! Sounds: WAV files in folders and archives, their front end, and random changes to them.

mod augment;
mod clip;
mod measure;
mod read;
mod spec;
#[cfg(test)]
mod tests;

pub use augment::AudioAugment;
pub use clip::{Axis, Clip, Mask, Waves};
pub(super) use measure::standardised;
pub(super) use read::read;
pub use spec::{AudioSpec, FeatureKind, LabelFrom};
