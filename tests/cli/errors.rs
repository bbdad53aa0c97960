//! Exit codes and what stderr says.

use std::process::Stdio;

use crate::util::{Workdir, program, rows_model};

#[test]
fn usage_and_input_errors_end_with_2_and_one_sentence() {
    let workdir = Workdir::new();
    for args in [
        &[][..],
        &["shipp"],
        &["predict", "model"],
        &["inspect", "-q", "-v", "m"],
        &["bench", "m", "--runs", "0"],
        &["bench", "m", "--threads", "0"],
        &["predict", "m", "x.pgm", "--threads", "17"],
        &["inspect", "m", "--dot", "--json"],
    ] {
        let output = workdir.run(args);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{args:?}: {output:?}");
    }
    let output = workdir.run(&["inspect", "missing.safetensors"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(
        output.stderr.starts_with("error: missing.safetensors: cannot be read: "),
        "{output:?}"
    );
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    workdir.write("text.safetensors", "hello");
    let output = workdir.run(&["bench", "text.safetensors"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.starts_with("error: text.safetensors: "), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(&workdir.path("."));
    let output = command
        .args(["inspect", "rows.safetensors"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{output:?}");
}
