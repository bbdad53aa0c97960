//! Exit codes and what stderr says.

use std::process::Stdio;

use crate::runs::SMALL;
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

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_that_is_not_there_is_refused_before_anything_is_read() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    for command in ["ship", "teacher", "distill"] {
        let refused = workdir.refused(&[command, "small.toml", "--device", "cuda"]);
        assert!(refused.starts_with("error: device \"cuda\": cannot be used ("), "{refused}");
        let advice = "build with `--features cuda` on a machine that has one, or take --device cpu";
        assert!(refused.ends_with(advice), "{refused}");
    }
    assert!(!workdir.path("out").exists());
}

#[test]
fn half_precision_on_the_cpu_is_refused_before_the_teacher_is_trained() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let args = ["ship", "small.toml", "--device", "cpu", "--set", "distill.precision=f16"];
    let refused = workdir.refused(&args);
    let wanted = "error: distill.precision: \"f16\" is for NVIDIA GPUs, this run is on the CPU";
    assert!(refused.starts_with(wanted), "{refused}");
    assert!(!workdir.path("out").exists());
}
