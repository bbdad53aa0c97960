//! Drives the program from outside, as a user does.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cli;
mod runs;
mod util;
