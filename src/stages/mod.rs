//! The stages of a run, each usable alone: every command is made of them.

pub mod budget;
pub mod chain;
pub mod convert;
pub mod diagnosis;
pub mod folder;
pub mod golden;
pub mod ladder;
pub mod ladder_state;
pub mod layers;
pub mod lessons;
pub mod measure;
pub mod monitor;
pub mod peers;
pub mod portions;
pub mod qat;
pub mod run;
pub mod samples;
pub mod scored;
pub mod student;
pub mod sweep;
pub mod teacher;
pub mod validate;
