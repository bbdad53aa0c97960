//! Weights as small integers in groups with a scale each, everything else in f32: the same bits on
//! every instruction set.

mod embedding;
mod linear;
#[cfg(test)]
mod tests;

pub use embedding::embed_groups;
pub use linear::WeightOnlyLinear;
