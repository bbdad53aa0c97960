//! One file a command, and what concerns several.

mod audio;
mod bad_input;
mod bench;
mod budget;
mod bundle;
mod chain;
mod errors;
mod export;
mod help;
mod inspect;
mod methods;
mod onnx;
mod peers;
mod pictures;
mod predict;
mod quantize;
mod resume;
mod seed;
mod seeds;
mod ship;
mod sweep;
mod tables;
mod teachers;
mod tensorboard;
mod text;
mod validate;
