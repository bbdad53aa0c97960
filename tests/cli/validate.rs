//! `validate`: the gates, the document, the table.

use serde_json::Value;

use crate::runs::{copy_of_small, small};
use crate::util::{Workdir, number, snapshot};

const TEACHER: [&str; 2] = ["--teacher", "out/teacher.safetensors"];
const INT8: [&str; 4] = ["validate", "out/student-int8.safetensors", "--data", "small.toml"];

/// `validate` of the int8 student with more arguments.
fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&INT8[..], more].concat()
}

#[test]
fn gates_set_the_exit_code() {
    let report = small().json(&args(&TEACHER));
    let agreement = number(&report, "students.int8.agreement");
    let drop = number(&report, "teacher.accuracy") - number(&report, "students.int8.accuracy");
    assert!((0.01..0.99).contains(&drop) && agreement < 0.99, "{report}");
    let points = |points: f64| format!("{points}");
    for (flag, value, passes) in [
        ("--max-drop", points(drop * 100.0 + 0.01), true),
        ("--max-drop", points(drop * 100.0 - 0.01), false),
        ("--max-drop", "100".into(), true),
        ("--max-drop", "0".into(), false),
        ("--min-agreement", points(agreement), true),
        ("--min-agreement", points(agreement + 1e-6), false),
        ("--min-agreement", "0".into(), true),
        ("--min-agreement", "1".into(), false),
    ] {
        let output = small().run(&args(&[&TEACHER[..], &[flag, &value]].concat()));
        assert_eq!(output.code, i32::from(!passes), "{flag} {value}: {output:?}");
        let line = output.stdout.lines().last().unwrap();
        assert!(line.starts_with(if passes { "passed: " } else { "FAILED: " }), "{output:?}");
        assert!(line.ends_with(&format!("({})", &flag[2..])), "{output:?}");
    }
    // One that fails is enough.
    let both = [&TEACHER[..], &["--max-drop", "100", "--min-agreement", "1"]].concat();
    assert_eq!(small().run(&args(&both)).code, 1);
}

#[test]
fn a_gate_that_cannot_be_measured_fails_and_says_why() {
    for (flag, value, need) in [
        ("--max-drop", "5", "not measured: it needs a teacher and labels"),
        ("--min-agreement", "0.5", "not measured: it needs a teacher"),
    ] {
        let output = small().run(&args(&[flag, value]));
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stdout.contains(need), "{output:?}");
    }
}

#[test]
fn limits_out_of_range_are_usage_errors() {
    for (flag, value, wanted) in [
        ("--min-agreement", "95", "a fraction from 0 to 1, as 0.95"),
        ("--min-agreement", "NaN", "a fraction from 0 to 1"),
        ("--max-drop", "many", "percentage points from 0 to 100"),
        ("--max-drop", "101", "percentage points from 0 to 100"),
    ] {
        let output = small().run(&args(&[flag, value]));
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        assert!(output.stderr.contains(flag) && output.stderr.contains(wanted), "{output:?}");
    }
}

/// All keys of `document`, from the root, without the positions in lists.
fn keys(document: &Value, path: &str, found: &mut Vec<String>) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                keys(value, &path, found);
                found.push(path);
            }
        }
        Value::Array(list) => list.iter().take(1).for_each(|value| keys(value, path, found)),
        _ => {}
    }
}

#[test]
fn its_document_has_the_keys_of_the_report() {
    let students = ["f32", "f16", "int8"].map(|f| format!("out/student-{f}.safetensors"));
    let mut args = vec!["validate", "--data", "small.toml"];
    args.extend(students.iter().map(String::as_str));
    args.extend(TEACHER);
    args.extend(["--control", "out/control-f32.safetensors"]);
    let found = small().json(&args);
    let report: Value = serde_json::from_slice(&small().read("out/report.json")).unwrap();
    let of = |document: &Value| {
        let mut found = Vec::new();
        keys(document, "", &mut found);
        found.sort();
        found
    };
    let (trained, measured): (Vec<_>, Vec<_>) =
        of(&report).into_iter().partition(|key| key.contains(".training"));
    assert_eq!(of(&found), measured);
    // Only a run knows how its teacher, control and student were trained.
    assert_eq!(trained.iter().filter(|key| key.ends_with("training.stopped")).count(), 3);
    assert_eq!(of(&report).iter().filter(|key| key.contains("latency_us.p99")).count(), 4);
    let workdir = Workdir::new();
    let out = workdir.path("report.json").display().to_string();
    args.extend(["--out", &out]);
    let printed = small().json(&args);
    let written: Value = serde_json::from_slice(&workdir.read("report.json")).unwrap();
    assert_eq!(printed, written);
}

#[test]
fn fewer_samples_are_spread_over_all() {
    let report = small().json(&args(&["--samples", "50"]));
    assert_eq!(number(&report, "data.test") as usize, 50);
    assert_eq!(number(&report, "students.int8.samples") as usize, 50);
    // The test digits are not sorted by class, so every tenth or so sees all ten.
    let classes = report["students"]["int8"]["per_class"].as_array().unwrap();
    assert!(classes.iter().filter(|class| class["samples"] != 0).count() >= 9, "{report}");
    let error = small().refused(&args(&["--samples", "0"]));
    assert!(error.contains("--samples 0"), "{error}");
}

#[test]
fn two_students_of_one_format_are_refused() {
    let workdir = copy_of_small();
    std::fs::copy(workdir.path("out/student-f32.safetensors"), workdir.path("b.safetensors"))
        .unwrap();
    let error = workdir.refused(&["validate", "out/student-f32.safetensors", "b.safetensors"]);
    let (second, first) =
        ("error: b.safetensors: ", "out/student-f32.safetensors is an f32 student");
    assert!(error.starts_with(second) && error.contains(first), "{error}");
    assert!(error.contains("one of each format"), "{error}");
}

#[test]
fn the_table_is_laid_out_for_people() {
    let output = small().run(&args(&[
        "out/student-f32.safetensors",
        "--teacher",
        "out/teacher.safetensors",
        "--control",
        "out/control-f32.safetensors",
        "--max-drop",
        "0",
    ]));
    assert_eq!((output.code, output.stderr.as_str()), (1, ""), "{output:?}");
    let table = output.stdout.lines().skip_while(|line| !line.starts_with("model ")).take(5);
    let widths: Vec<_> = table.map(|line| line.chars().count()).collect();
    assert_eq!(widths, [widths[0]; 5], "columns are not aligned in\n{}", output.stdout);
    snapshot("validate-table", &without_figures(&output.stdout));
}

/// Every number as `#`, every gap as one space.
fn without_figures(table: &str) -> String {
    let word = |word: &str| {
        let number =
            word.trim_start_matches(['(', '+', '-']).starts_with(|c: char| c.is_ascii_digit());
        if !number {
            return word.to_string();
        }
        let mut hidden = word.replace(|c: char| c.is_ascii_digit() || c == '.', "#");
        while hidden.contains("##") {
            hidden = hidden.replace("##", "#");
        }
        hidden.trim_start_matches(['+', '-']).to_string()
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    table.lines().map(|l| line(l) + "\n").collect()
}
