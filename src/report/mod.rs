//! Reports: what was measured, as a document and as a table.

pub mod distilled;
pub mod gates;
pub mod ladder;
pub mod layers;
pub mod model;
pub mod seeds;
pub mod sweep;
pub mod table;
pub mod training;

pub use model::Report;
