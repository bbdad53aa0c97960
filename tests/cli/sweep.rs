//! `distill --sweep`: a table over values of keys, chosen from by the validation samples only.

use serde_json::{Value, json};

use crate::runs::SMALL;
use crate::util::{Workdir, number};

fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    workdir
}

#[test]
fn each_value_is_the_run_that_set_would_give_beside_one_teacher_and_one_control() {
    let workdir = workdir();
    let held_out = ["--set", "data.validation=60"];
    let args = ["distill", "small.toml", "--out", "out", "--sweep", "temperature=1,8"];
    let report = workdir.json(&[&args[..], &held_out].concat());
    assert_eq!((&report["keys"], &report["seeds"]), (&json!(["temperature"]), &json!([3])));
    assert_eq!(serde_json::from_slice::<Value>(&workdir.read("out/sweep.json")).unwrap(), report);
    let runs = report["runs"].as_array().unwrap();
    for (run, temperature) in runs.iter().zip(["1", "8"]) {
        let folder = format!("out/sweep-temperature={temperature}");
        assert_eq!((&run["values"], &run["folders"]), (&json!([temperature]), &json!([folder])));
        let set = format!("distill.loss.0.temperature={temperature}.0");
        let alone = ["distill", "small.toml", "--out", "alone", "--set", &set];
        let alone = workdir.json(&[&alone[..], &held_out].concat());
        for (key, of_run) in [
            ("student.accuracy", "accuracy.mean"),
            ("student.training.last.validation_accuracy", "validation.mean"),
            ("gain", "gain.mean"),
        ] {
            assert_eq!(number(run, of_run).to_bits(), number(&alone, key).to_bits(), "{key}");
        }
        let student = "student-f32.safetensors";
        assert!(
            workdir.read(&format!("{folder}/{student}"))
                == workdir.read(&format!("alone/{student}"))
        );
        assert!(!workdir.path(&folder).join("control-f32.safetensors").exists());
    }
    assert!(workdir.path("out/teacher.safetensors").is_file());
    assert!(workdir.path("out/control-f32.safetensors").is_file());
    let [first, second] = [0, 1].map(|i| number(&runs[i], "validation.mean"));
    assert_eq!(report["best"], json!(usize::from(second > first)));
}

#[test]
fn a_sweep_is_resumed_with_more_values_and_keys_make_a_grid() {
    let workdir = workdir();
    let args = ["distill", "small.toml", "--out", "out", "--resume"];
    let short = ["--set", "distill.epochs=2", "--set", "data.validation=60"];
    let one = [&args[..], &short, &["--sweep", "temperature=4"]].concat();
    workdir.ok(&one);
    let student = "out/sweep-temperature=4/student-f32.safetensors";
    let before = workdir.read(student);
    let table = workdir.ok(&[&args[..], &short, &["--sweep", "temperature=2,4"]].concat());
    assert!(workdir.read(student) == before);
    assert!(table.contains("\nBest by validation accuracy: temperature="), "{table}");
    let grid = ["--sweep", "temperature=2,4", "--sweep", "optimizer.lr=1e-2,5e-3", "--seeds", "2"];
    let report = workdir.json(&[&args[..], &short, &grid].concat());
    let runs = report["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &report["seeds"]), (4, &json!([3, 4])));
    let folders =
        ["out/seed-3", "out/seed-4"].map(|f| format!("{f}/sweep-temperature=2,optimizer.lr=5e-3"));
    assert_eq!(runs[1]["folders"], json!(folders));
    // The control of a learning rate is shared by the temperatures.
    let control = |name: &str| workdir.path(&format!("out/seed-3/{name}/control-f32.safetensors"));
    assert!(control("sweep-temperature=2,optimizer.lr=5e-3").is_file());
    assert!(!control("sweep-temperature=4,optimizer.lr=5e-3").exists());
}

#[test]
fn the_test_samples_choose_nothing_and_a_run_that_diverges_ends_no_sweep() {
    let workdir = workdir();
    let args = ["distill", "small.toml", "--out", "out", "--sweep", "optimizer.lr=1e-2,1e30"];
    let table = workdir.ok(&args);
    assert!(
        table.contains("\nNo run is called the best: there are no validation samples"),
        "{table}"
    );
    let diverged = table.lines().find(|line| line.starts_with("1e30")).unwrap();
    assert!(diverged.ends_with(" diverged"), "{table}");
    assert!(
        table.contains("\noptimizer.lr=1e30: ") && table.contains("training stopped"),
        "{table}"
    );
    let report: Value = serde_json::from_slice(&workdir.read("out/sweep.json")).unwrap();
    assert_eq!((&report["best"], &report["runs"][1]["accuracy"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_wrong_sweep_is_refused_before_anything_is_trained() {
    let workdir = workdir();
    let refused = workdir.refused(&[
        "distill",
        "small.toml",
        "--out",
        "out",
        "--sweep",
        "temperature=4,warm",
    ]);
    assert!(refused.contains("--sweep temperature=warm: "), "{refused}");
    assert!(!workdir.path("out").exists());
}
