//! `--tensorboard`: event files that TensorBoard's own reader understands, also after a resumed run.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::runs::SMALL;
use crate::util::{Workdir, number, skipped};

/// What TensorBoard finds in `folder`; `None` where it is not installed.
fn read(test: &str, folder: &Path) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/tensorboard_events.py");
    let Ok(output) = Command::new("python3").arg(script).arg(folder).output() else {
        skipped(test, "there is no python3");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(77) {
        skipped(test, text.trim().trim_start_matches("skipped: "));
        return None;
    }
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_str(&text).unwrap())
}

/// Number of event files in `folder`.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn tensorboard_reads_what_the_json_lines_say() {
    const TEST: &str = "tensorboard_reads_what_the_json_lines_say";
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let args = ["distill", "small.toml", "--out", "out", "--set", "data.validation=60"];
    workdir.ok(&args);
    assert!(!workdir.path("out/tensorboard").exists());
    workdir.ok(&[&args[..], &["--tensorboard"]].concat());
    // Run again from the beginning: the first files go.
    workdir.ok(&[&args[..], &["--tensorboard"]].concat());
    let folder = workdir.path("out/tensorboard/student");
    assert_eq!(files(&folder), 1);
    // Resumed at its end: a second file that adds nothing.
    workdir.ok(&[&args[..], &["--tensorboard", "--resume"]].concat());
    assert_eq!(files(&folder), 2);
    let Some(scalars) = read(TEST, &folder) else { return };
    let text = String::from_utf8(workdir.read("out/metrics-student.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    for (tag, key) in [
        ("epoch/number", "epoch"),
        ("epoch/loss", "loss"),
        ("epoch/loss/kd", "terms.kd"),
        ("epoch/accuracy/validation", "validation_accuracy"),
        ("epoch/images_per_second", "images_per_second"),
    ] {
        let found = scalars[tag].as_array().unwrap();
        assert_eq!(found.len(), lines.len(), "{tag}");
        for (pair, line) in found.iter().zip(&lines) {
            assert_eq!(pair[0], line["step"], "{tag}");
            let (found, wanted) = (number(pair, "1"), number(line, key));
            assert!((found - wanted).abs() <= 1e-6 * wanted.abs(), "{tag}: {found}, {wanted}");
        }
    }
    let steps = scalars["step/loss"].as_array().unwrap();
    let numbers: Vec<u64> = steps.iter().map(|pair| pair[0].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=lines[7]["step"].as_u64().unwrap()).collect::<Vec<_>>());
}
