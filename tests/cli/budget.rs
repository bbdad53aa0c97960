//! `--size-budget`: the student's width follows from what it may take; `[budget]` and `--fit`: what it may take at
//! all.

use crate::runs::{SMALL, copy_of_small};
use crate::util::{Workdir, number, rows_model_int8};

const RECIPE: &str = r#"
name = "budget"

[data]
format = "digits"

[student]
network = "ds-cnn"
size_budget = "12 KiB"

[distill]
epochs = 1
loss = [{ kind = "cross-entropy" }]

[bundle]
targets = []
"#;

#[test]
fn the_int8_file_fits_and_nearly_fills_its_budget() {
    let workdir = Workdir::new();
    workdir.write("budget.toml", RECIPE);
    let shipped = workdir.run(&["ship", "budget.toml", "--out", "out"]);
    assert!(shipped.stderr.contains("student: ds-cnn, width "), "{}", shipped.stderr);
    let int8 = workdir.read("out/student-int8.safetensors").len();
    assert!((10 * 1024..=12 * 1024).contains(&int8), "{int8} bytes");
}

#[test]
fn a_budget_of_parameters_overrides_the_width() {
    let workdir = Workdir::new();
    workdir.write("wide.toml", RECIPE.replace("size_budget = \"12 KiB\"", "width = 4"));
    let args = ["ship", "wide.toml", "--out", "out", "--size-budget", "3000 params"];
    let report = workdir.json(&args);
    // 11 w + 4 (13 w + w²) + 10 w + 10 at a width of 19 is 2841, at 20 it is 3070.
    assert!((number(&report, "students.f32.parameters") - 2841.0).abs() < 0.5, "{report}");
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused() {
    let workdir = Workdir::new();
    workdir.write("budget.toml", RECIPE);
    let refused = workdir.refused(&["distill", "budget.toml", "--size-budget", "1KiB"]);
    let words = "[student]: size_budget: 1 KiB is too small: ds-cnn, width 1 takes";
    assert!(refused.contains(words), "{refused}");
    workdir.write("both.toml", RECIPE.replace("size_budget", "width = 4\nsize_budget"));
    let refused = workdir.refused(&["distill", "both.toml"]);
    assert!(
        refused.contains("both.toml, line 10: [student] has width and size_budget"),
        "{refused}"
    );
    workdir.write("unit.toml", RECIPE.replace("12 KiB", "12"));
    let refused = workdir.refused(&["distill", "unit.toml"]);
    assert!(refused.contains("size_budget in [student]: \"12\" is no size"), "{refused}");
}

#[test]
fn a_model_is_held_against_the_limits_of_a_board() {
    let workdir = Workdir::new();
    workdir.write("int8.safetensors", rows_model_int8());
    let shown = workdir.json(&["inspect", "int8.safetensors"]);
    let [memory, file, macs] =
        ["memory_bytes", "file_bytes", "macs"].map(|key| number(&shown, key));
    let fit = |limits: &str| workdir.run(&["inspect", "int8.safetensors", "--fit", limits]);

    let exact = fit(&format!("ram={memory},flash={file},macs={macs}"));
    assert_eq!(exact.code, 0, "{exact:?}");
    let takes =
        format!("passed: int8.safetensors takes {memory} bytes of memory for its values, at most");
    assert!(exact.stdout.starts_with(&takes), "{exact:?}");
    // One below each: 12 MACs of the only layer that multiplies, which also has all weights.
    let less = fit(&format!("ram={},flash={},macs={}", memory - 1.0, file - 1.0, macs - 1.0));
    assert_eq!(less.code, 1, "{less:?}");
    assert_eq!(less.stdout.matches("FAILED: ").count(), 3, "{less:?}");
    for part in [
        "its peak at layer \"quantize\"",
        "most weights in layer \"fc\" (48 bytes)",
        "most of them in layer \"fc\" (12)",
        "size_budget = \"11 macs\" in [student]",
    ] {
        assert!(less.stdout.contains(part), "{part}: {}", less.stdout);
    }
    // Faster than a minute, slower than a nanosecond.
    assert_eq!(fit("latency=60s").code, 0);
    let slow = fit("latency=0.001us");
    assert_eq!(slow.code, 1, "{slow:?}");
    assert!(
        slow.stdout.contains("on this machine (scalar, one thread, median of 200)"),
        "{slow:?}"
    );
    let document = workdir.run(&["inspect", "int8.safetensors", "--fit", "macs=1", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["passed"], false);
    assert_eq!(document["gates"][0]["name"], "macs");
    let wrong = fit("ram=64K,rom=1M");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("did you mean \"ram\"?"), "{wrong:?}");
}

/// A convolutional student of a fixed width on the digits, taught by its labels.
const SIZED: &str = r#"
name = "sized"

[data]
format = "digits"
limit = 200

[student]
network = "ds-cnn"
width = 8

[distill]
epochs = 1
loss = [{ kind = "cross-entropy" }]

[quantize]
to = ["int8"]
calibration = { samples = 50 }

[bundle]
targets = []

[budget]
ram = "8K"
flash = "16K"
macs = "100k"
"#;

#[test]
fn what_is_said_before_training_is_what_the_trained_student_takes() {
    let workdir = Workdir::new();
    workdir.write("sized.toml", SIZED);
    let before = workdir.json(&["inspect", "sized.toml", "--fit", "ram=1M,flash=1M,macs=1G"]);
    let report = workdir.json(&["ship", "sized.toml", "--out", "out"]);
    let written = workdir.json(&["inspect", "out/student-int8.safetensors"]);
    let said = |gate: usize| number(&before, &format!("gates.{gate}.value"));
    let same = |a: f64, b: f64| assert!((a - b).abs() < 0.5, "{a} and {b}");
    same(said(0), number(&written, "memory_bytes"));
    same(said(2), number(&written, "macs"));
    let file = workdir.read("out/student-int8.safetensors").len() as f64;
    same(number(&written, "file_bytes"), file);
    // A bound, with room for figures that are found by training.
    assert!(said(1) >= file && said(1) < file + 1024.0, "{} and {file}", said(1));
    for (gate, name) in ["ram", "flash", "macs"].iter().enumerate() {
        assert_eq!(report["gates"][gate]["name"], *name, "{report}");
        assert_eq!(report["gates"][gate]["passed"], true, "{report}");
    }
    same(number(&report, "gates.1.value"), file);
}

#[test]
fn a_student_over_its_budget_is_not_trained() {
    let workdir = Workdir::new();
    workdir.write("sized.toml", SIZED);
    for (set, parts) in [
        ("budget.ram=1K", ["takes ", "its peak at layer \"", "size_budget = \"1 KiB ram\""]),
        ("budget.flash=2K", ["is a file of up to ", "most weights in layer \"", "= \"2 KiB\""]),
        (
            "budget.macs=1k",
            ["MACs, at most 1000 (macs)", "most of them in layer \"", "1000 macs\""],
        ),
        ("budget.latency=0.001us", ["on this machine", "most of it in layer \"", "size_budget"]),
    ] {
        for command in ["ship", "distill"] {
            let error = workdir.refused(&[command, "sized.toml", "--out", "out", "--set", set]);
            assert!(error.contains("sized: over [budget], so nothing was trained: "), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
    assert!(!workdir.path("out/student-f32.safetensors").exists());
    let error = workdir.refused(&["distill", "sized.toml", "--set", "budget.ram=lots"]);
    assert!(error.contains("\"lots\" is no number of bytes"), "{error}");
    // With the advice it fits.
    let advised = SIZED.replace("width = 8", "size_budget = \"6 KiB ram\"");
    let advised = advised.replace("ram = \"8K\"", "ram = \"6K\"").replace("100k", "1M");
    workdir.write("advised.toml", advised.replace("16K", "64K"));
    workdir.ok(&["distill", "advised.toml", "--out", "advised"]);
    // In a sweep the others are trained.
    let args = ["distill", "sized.toml", "--out", "swept", "--set", "budget.macs=40k"];
    let swept = workdir.json(&[&args[..], &["--sweep", "student.width=4,16"]].concat());
    assert!(swept["runs"][0]["failed"].is_null(), "{swept}");
    let failed = swept["runs"][1]["failed"].as_str().unwrap();
    assert!(failed.contains("MACs, at most 40000 (macs)"), "{failed}");
}

#[test]
fn what_quantize_writes_is_held_against_the_recipes_budget() {
    let workdir = copy_of_small();
    let student = "out/student-f32.safetensors";
    let with = |budget: &str| {
        workdir.write("budget.toml", format!("{SMALL}\n[budget]\n{budget}\n"));
        let to = ["--to", "f16,int8", "--out", "made"];
        workdir.run(&[&["quantize", student, "--data", "budget.toml"], &to[..]].concat())
    };
    let fits = with("flash = \"1M\"");
    assert_eq!(fits.code, 0, "{fits:?}");
    let int8 = workdir.read("made/student-int8.safetensors").len();
    let passed = format!(
        "passed: made/student-int8.safetensors is a file of {int8} bytes, at most 1048576 (flash)"
    );
    assert!(fits.stdout.contains(&passed), "{fits:?}");
    let over = with(&format!("flash = \"{}\"", int8 - 1));
    assert_eq!(over.code, 1, "{over:?}");
    assert!(over.stdout.contains("FAILED: made/student-int8.safetensors"), "{over:?}");
}
