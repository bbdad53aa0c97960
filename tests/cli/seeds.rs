//! `distill --seeds` and `teacher --seeds`: mean, deviation and paired gains over several seeds.

use serde_json::{Value, json};

use crate::runs::{SMALL, small};
use crate::util::{Workdir, number};

fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    workdir
}

fn values(line: &Value) -> Vec<f64> {
    line["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn every_seed_is_the_run_of_that_seed_and_the_gains_are_paired() {
    let workdir = workdir();
    let several = workdir.json(&["distill", "small.toml", "--out", "out", "--seeds", "2"]);
    assert_eq!(several["seeds"]["seeds"], json!([3, 4]));
    let alone: Vec<Value> = ["3", "4"]
        .map(|seed| {
            let args = ["distill", "small.toml", "--out", &format!("alone-{seed}"), "--seed", seed];
            workdir.json(&args)
        })
        .into();
    let lines = several["seeds"]["accuracy"].as_array().unwrap();
    for (line, model) in lines.iter().zip(["teacher", "control", "student"]) {
        let wanted: Vec<f64> =
            alone.iter().map(|run| number(run, &format!("{model}.accuracy"))).collect();
        assert_eq!(values(line), wanted, "{model}");
    }
    assert_eq!(lines.len(), 3);
    let gains: Vec<f64> = alone.iter().map(|run| number(run, "gain")).collect();
    assert_eq!(values(&several["seeds"]["gain"]), gains);
    assert_eq!(number(&several, "gain").to_bits(), gains[0].to_bits());
    for name in ["teacher.safetensors", "student-f32.safetensors", "control-f32.safetensors"] {
        let same = workdir.read(&format!("out/seed-4/{name}"));
        assert!(same == workdir.read(&format!("alone-4/{name}")), "{name}");
    }
    let table = workdir.ok(&["distill", "small.toml", "--out", "out", "--seeds", "2", "--resume"]);
    let mean = number(&several, "seeds.gain.mean") * 100.0;
    let gain = format!("gain of distillation, seed by seed: {mean:+.2} ± ");
    assert!(table.contains("Accuracy over seeds [3, 4]") && table.contains(&gain), "{table}");
}

#[test]
fn a_teacher_in_the_folder_teaches_every_seed() {
    let workdir = workdir();
    std::fs::create_dir(workdir.path("out")).unwrap();
    workdir.write("out/teacher.safetensors", small().read("out/teacher.safetensors"));
    let report = workdir.json(&["distill", "small.toml", "--out", "out", "--seeds", "2"]);
    let teacher = values(&report["seeds"]["accuracy"][0]);
    assert_eq!(teacher[0].to_bits(), teacher[1].to_bits());
    assert!(!workdir.path("out/seed-3/teacher.safetensors").exists());
}

#[test]
fn teachers_are_trained_under_several_seeds() {
    let workdir = workdir();
    let report = workdir.json(&["teacher", "small.toml", "--out", "out", "--seeds", "2"]);
    assert_eq!(report["file"], "out/seed-3/teacher.safetensors");
    assert!(workdir.path("out/seed-4/teacher.safetensors").is_file());
    let accuracies = values(&report["seeds"]["accuracy"][0]);
    assert_eq!(
        (accuracies.len(), accuracies[0].to_bits()),
        (2, number(&report, "teacher.accuracy").to_bits())
    );
    let set = "teacher.file=out/seed-3/teacher.safetensors";
    let refused = workdir.refused(&["teacher", "small.toml", "--seeds", "2", "--set", set]);
    assert!(refused.contains("--seeds repeats a training"), "{refused}");
}
