//! How a command ended, and the exit code that says so.

use std::process::ExitCode;

/// How a command that met no error ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// A gate such as `--max-drop` was not met.
    GateFailed,
}

impl Outcome {
    /// Exit code of usage and input errors.
    pub const ERROR: u8 = 2;
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::GateFailed => Self::FAILURE,
        }
    }
}
