//! One file a command.

mod bench;
mod errors;
mod help;
mod inspect;
mod predict;
