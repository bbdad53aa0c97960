//! Progress on stderr: bars on a terminal, a line now and then elsewhere, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Common;

/// Where progress and warnings go.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    mode: Mode,
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Silent,
}

impl Progress {
    /// As the flags ask: `--quiet` and `--json` silence it.
    pub fn new(common: &Common) -> Self {
        let mode = match (common.quiet || common.json, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self { mode, verbose: common.verbose && !common.quiet }
    }

    /// A bar of `steps` steps; on a terminal it is drawn at once.
    pub fn bar(&self, label: &str, steps: u64) -> Bar {
        let target = match self.mode {
            Mode::Bars => ProgressDrawTarget::stderr(),
            Mode::Lines | Mode::Silent => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix:<24} {wide_bar} {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_style(style);
        bar.set_prefix(label.to_string());
        if self.mode == Mode::Bars {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Bar { bar, mode: self.mode }
    }

    /// A line that tells what begins or was done.
    pub fn line(&self, text: &str) {
        if self.mode != Mode::Silent {
            to_stderr(text);
        }
    }

    /// A line for `--verbose` only.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            to_stderr(text);
        }
    }

    /// A warning about files or samples of a data set that were left out; `--verbose` lists them.
    pub fn left_out(&self, files: &[String]) {
        let Some(first) = files.first() else { return };
        let what = match files.len() {
            1 => "1 damaged file or sample".to_string(),
            count => format!("{count} damaged files or samples"),
        };
        self.warn(&format!("{what} left out (data.on_error), as {first}"));
        files.iter().skip(1).for_each(|file| self.detail(&format!("left out: {file}")));
    }

    /// A warning, which `--quiet` does not hide.
    pub fn warn(&self, text: &str) {
        to_stderr(&format!("warning: {text}"));
    }
}

/// One bar, or the lines in its stead.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    mode: Mode,
}

impl Bar {
    /// One step more.
    pub fn inc(&self) {
        self.bar.inc(1);
    }

    /// `done` of `steps` steps are done.
    pub fn reached(&self, done: u64, steps: u64) {
        self.bar.set_length(steps);
        self.bar.set_position(done);
    }

    /// Text at the end of the bar; not shown where there are lines instead.
    pub fn message(&self, text: &str) {
        self.bar.set_message(text.to_string());
    }

    /// Text before the bar.
    pub fn label(&self, text: &str) {
        self.bar.set_prefix(text.to_string());
    }

    /// A line above the bar, as for an epoch that ended.
    pub fn line(&self, text: &str) {
        match self.mode {
            Mode::Bars => self.bar.suspend(|| to_stderr(text)),
            Mode::Lines => to_stderr(text),
            Mode::Silent => {}
        }
    }

    /// Begins again with `steps` steps, as for the next epoch.
    pub fn restart(&self, steps: u64) {
        self.bar.set_length(steps);
        self.bar.set_position(0);
    }

    /// Ends the bar and leaves `text` as a line after its label.
    pub fn finish(self, text: &str) {
        let label = self.bar.prefix();
        self.bar.finish_and_clear();
        if self.mode != Mode::Silent {
            to_stderr(&format!("{label}: {text}"));
        }
    }
}

/// Progress never ends a run: a closed stderr is ignored.
fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::{Mode, Progress};
    use crate::args::Common;

    #[test]
    fn quiet_and_json_silence_progress() {
        let common = Common::default();
        assert_ne!(Progress::new(&common).mode, Mode::Silent);
        for silent in [Common { quiet: true, ..common }, Common { json: true, ..common }] {
            let progress = Progress::new(&silent);
            assert_eq!(progress.mode, Mode::Silent);
            let bar = progress.bar("teacher", 2);
            bar.inc();
            bar.message("loss 0.1");
            bar.line("epoch 1: loss 0.1");
            bar.restart(3);
            bar.finish("done");
        }
    }
}
