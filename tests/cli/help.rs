//! Help texts of all commands.

use crate::util::{Workdir, snapshot};

#[test]
fn help_of_every_command() {
    let workdir = Workdir::new();
    snapshot("help", &workdir.ok(&["--help"]));
    for command in [
        "ship", "teacher", "distill", "quantize", "validate", "inspect", "predict", "bench",
        "export", "bundle", "check", "deploy",
    ] {
        snapshot(&format!("help-{command}"), &workdir.ok(&[command, "--help"]));
    }
}

#[test]
fn version_is_the_packages() {
    let expected = format!("hipflask {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Workdir::new().ok(&["--version"]), expected);
}
