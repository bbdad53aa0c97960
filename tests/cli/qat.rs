//! `distill --qat`, `ship --qat` and the table `[qat]`: students trained on as int8.

use hipflask_runtime::Model;

use crate::runs::SMALL;
use crate::util::{Workdir, number};

fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    workdir
}

#[test]
fn a_student_is_trained_on_as_int8() {
    let workdir = workdir();
    let args = ["distill", "small.toml", "--qat", "--set", "qat.epochs=2"];
    let report = workdir.json(&[&args[..], &["--out", "out"]].concat());
    assert_eq!(report["int8"]["file"], "student-int8.safetensors");
    let accuracy = number(&report, "int8.accuracy");
    assert!(accuracy > number(&report, "converted.accuracy") - 0.03, "{report}");
    assert_eq!(number(&report, "int8.training.epochs").to_bits(), 2.0_f64.to_bits());
    let graph = |file: &str| Model::open(workdir.path(file)).unwrap().graph().clone();
    let trained = graph("out/student-int8.safetensors");
    assert!(trained.values.iter().any(|value| value.quant.is_some()));
    assert!(workdir.path("out/metrics-student-int8.jsonl").is_file());

    // From the trained student alone the same weights and scales; the card names the teacher's file.
    let again = [
        &args[..],
        &["--student", "out/student-f32.safetensors", "--teacher", "out/teacher.safetensors"],
        &["--out", "again"],
    ];
    let text = workdir.ok(&again.concat());
    assert!(graph("again/student-int8.safetensors") == trained);
    assert!(!workdir.path("again/student-f32.safetensors").exists());
    for line in
        ["student int8, converted: ", "student int8, trained on: ", "  trained for 2 epochs"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("The student is in again: student-int8.safetensors\n"), "{text}");

    // A run that is over is not trained again.
    workdir.ok(&[&args[..], &["--out", "out", "--resume"]].concat());
    assert!(graph("out/student-int8.safetensors") == trained);
}

#[test]
fn what_is_shipped_is_the_student_that_was_trained_on() {
    let workdir = workdir();
    workdir.write("qat.toml", format!("{SMALL}\n[qat]\nepochs = 1\n"));
    let args = ["--out", "out", "--set", "bundle.targets=[]"];
    let report = workdir.json(&[&["ship", "qat.toml"], &args[..]].concat());
    let students = &report["students"];
    assert_eq!(number(students, "int8.training.epochs").to_bits(), 1.0_f64.to_bits());
    assert!(students["converted"]["accuracy"].is_f64(), "{students}");
    // The flag alone is the table with its defaults.
    let recipe = workdir.ok(&["ship", "small.toml", "--qat", "--explain"]);
    assert!(recipe.contains("[qat]\nepochs = 3\n"), "{recipe}");
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let workdir = workdir();
    workdir.ok(&["distill", "small.toml", "--out", "out", "--qat", "--set", "qat.epochs=1", "-q"]);
    let with = |student: &str| {
        let args =
            ["distill", "small.toml", "--out", "other", "--teacher", "out/teacher.safetensors"];
        workdir.refused(&[&args[..], &["--qat", "--student", student]].concat())
    };
    let error = with("out/student-int8.safetensors");
    assert!(error.contains("it is already converted: begin with the f32 student"), "{error}");
    let error = with("nothing.safetensors");
    assert!(error.contains("--student nothing.safetensors: there is no such file"), "{error}");
    let term = |loss: &str| {
        let set = format!("qat.loss=[{{ kind = \"{loss}\" }}]");
        workdir.refused(&["distill", "small.toml", "--out", "other", "--qat", "--set", &set])
    };
    assert!(term("mutual").contains("qat.loss: mutual is no loss of"), "{}", term("mutual"));
    assert!(term("rkd").contains("qat.loss: rkd is no loss of"), "{}", term("rkd"));
}
