//! `ship`: the built-in digits from teacher to bundle, with the figures that the README promises.

use hipflask::recipe::Recipe;
use hipflask::stages::samples::Samples;
use hipflask_distill::data::{DataSet, Places};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session};
use serde_json::Value;

use crate::runs::{SMALL, copy_of_small, digits};
use crate::util::{Workdir, files, number, run, skipped};

fn report() -> Value {
    serde_json::from_slice(&digits().read("out/digits/report.json")).unwrap()
}

/// `document` without what differs between runs and machines: names of files, latency, how long
/// training took.
fn figures(document: &Value) -> Value {
    const VARYING: [&str; 4] = ["file", "latency_us", "name", "training"];
    match document {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !VARYING.contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), figures(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn the_digits_reach_the_promised_figures() {
    let report = report();
    let at = |path: &str| number(&report, path);
    assert!(at("teacher.accuracy") >= 0.98, "{report}");
    let (f32, int8) = (at("students.f32.accuracy"), at("students.int8.accuracy"));
    assert!(int8 >= 0.965 && (int8 - f32).abs() <= 0.006, "int8 {int8}, f32 {f32}");
    assert!(at("students.int8.agreement") >= 0.965, "{report}");
    let (f32, int8) = (at("students.f32.bytes"), at("students.int8.bytes"));
    assert!(int8 <= 0.4 * f32, "{int8} of {f32} bytes");
    let (f32, int8) = (at("students.f32.weight_bytes"), at("students.int8.weight_bytes"));
    assert!(int8 <= 0.27 * f32, "{int8} of {f32} bytes of weights");
}

#[test]
fn the_report_has_what_machines_read() {
    let report = report();
    let numbers = ["teacher.accuracy", "control.accuracy", "gain", "seed"];
    assert_eq!((&report["data"]["train"], &report["data"]["test"]), (&1437.into(), &360.into()));
    assert!(numbers.iter().all(|path| number(&report, path).is_finite()));
    for format in ["f32", "f16", "int8"] {
        let at = |key: &str| number(&report, &format!("students.{format}.{key}"));
        assert!((0.0..=1.0).contains(&at("accuracy")) && (0.0..=1.0).contains(&at("agreement")));
        assert!(at("kl") >= 0.0 && at("latency_us.p50") <= at("latency_us.p99"));
        let file = format!("out/digits/student-{format}.safetensors");
        assert_eq!(at("bytes") as usize, digits().read(&file).len());
    }
    for trained in ["teacher", "control", "students.f32"] {
        let at = |key: &str| number(&report, &format!("{trained}.training.{key}"));
        assert!((at("epochs") - at("last.epoch")).abs() < 1e-9 && at("images_per_second") > 0.0);
        assert!(
            (at("last_test_accuracy") - number(&report, &format!("{trained}.accuracy"))).abs()
                < 1e-9
        );
    }
    assert_eq!(report["teacher"]["training"]["stopped"], "epochs");
    assert_eq!(report["versions"]["hipflask"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&report["passed"], &report["seed"]), (&true.into(), &42.into()));
}

#[test]
fn every_file_is_written_and_the_table_names_every_model() {
    let written = files(&digits().path("out/digits"));
    let names: Vec<_> = written.keys().filter(|name| !name.starts_with("bundle/")).collect();
    assert_eq!(
        names,
        [
            "checkpoints/control.safetensors",
            "checkpoints/student.safetensors",
            "checkpoints/teacher.safetensors",
            "control-f32.safetensors",
            "golden.safetensors",
            "metrics-control.jsonl",
            "metrics-student.jsonl",
            "metrics-teacher.jsonl",
            "report.json",
            "student-f16.safetensors",
            "student-f32.safetensors",
            "student-int8.safetensors",
            "teacher.safetensors",
        ]
    );
    let table = String::from_utf8(digits().read("stdout")).unwrap();
    for start in [
        "digits: digits; 360 test samples, 1437 for training",
        "teacher ",
        "control f32 ",
        "student int8 ",
    ] {
        assert!(table.lines().any(|line| line.starts_with(start)), "{start:?} in\n{table}");
    }
    assert!(table.ends_with("\nResults are in out/digits\n"), "{table}");
    assert!(!table.contains("\n\n\n"), "{table}");
}

#[test]
fn int8_gives_the_same_bits_on_every_instruction_set() {
    if Isa::best() == Isa::Scalar {
        return skipped("int8_gives_the_same_bits_on_every_instruction_set", "only scalar here");
    }
    let recipe = Recipe::digits().unwrap();
    let data = DataSet::open(&recipe.data, &Places::default(), recipe.seed).unwrap();
    let outputs = |format: &str, isa: Isa| -> Vec<Vec<f32>> {
        let name = format!("out/digits/student-{format}.safetensors");
        let model = Model::open(digits().path(&name)).unwrap();
        let samples = Samples::new(&data.test, model.preprocess().unwrap()).unwrap();
        assert_eq!(samples.len(), 360);
        let mut session =
            Session::new(&model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
        let all = 0..samples.len();
        all.map(|i| session.predict(&samples.get(i)).unwrap().to_vec()).collect()
    };
    for isa in Isa::available() {
        let (found, wanted) = (outputs("int8", isa), outputs("int8", Isa::Scalar));
        let differs = |(a, b): (&Vec<f32>, &Vec<f32>)| {
            a.len() != 10 || a.iter().zip(b).any(|(a, b)| a.to_bits() != b.to_bits())
        };
        assert_eq!(found.iter().zip(&wanted).position(differs), None, "{isa}");
        for format in ["f32", "f16"] {
            let (found, wanted) = (outputs(format, isa), outputs(format, Isa::Scalar));
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * b.abs().max(1.0);
            assert!(!found.concat().iter().zip(&wanted.concat()).any(far), "{format} on {isa}");
        }
    }
}

#[test]
fn validate_finds_the_reports_figures_on_every_instruction_set() {
    let folder = digits();
    let report = report();
    for isa in Isa::available() {
        let mut command = folder.command();
        command.args(["validate", "--json", "--teacher", "out/digits/teacher.safetensors"]);
        command.args(["--control", "out/digits/control-f32.safetensors"]);
        let formats = ["f32", "f16", "int8"];
        command.args(formats.map(|f| format!("out/digits/student-{f}.safetensors")));
        let output = run(command.env("HIPFLASK_ISA", isa.name()));
        assert_eq!(output.code, 0, "{output:?}");
        let found: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(found["students"]["int8"]["isa"], isa.name());
        if isa == Isa::best() {
            for part in ["data", "teacher", "control", "students"] {
                let (found, wanted) = (figures(&found[part]), figures(&report[part]));
                assert_eq!(found, wanted, "{part}");
            }
            assert_eq!(found["gain"], report["gain"]);
        }
        for score in ["accuracy", "agreement", "kl", "per_class"] {
            let of = |document: &Value| document["students"]["int8"][score].clone();
            assert_eq!(of(&found), of(&report), "{score} on {isa}");
        }
    }
}

#[test]
fn a_seed_decides_every_byte() {
    let workdir = copy_of_small();
    workdir.ok(&["ship", "small.toml", "--out", "again", "-q"]);
    workdir.ok(&["ship", "small.toml", "--out", "other", "-q", "--seed", "4"]);
    let models = |folder: &str| {
        let mut files = files(&workdir.path(folder));
        files.retain(|name, _| name.ends_with(".safetensors") && !name.contains('/'));
        files
    };
    let (first, again, other) = (models("out"), models("again"), models("other"));
    assert_eq!(first.len(), 5);
    for (name, bytes) in &first {
        assert!(again[name] == *bytes, "{name} differs under the same seed");
        assert!(other[name] != *bytes, "{name} is the same under another seed");
    }
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let workdir = copy_of_small();
    let content = || {
        let mut files = files(&workdir.path("out"));
        let report: Value = serde_json::from_slice(&files.remove("report.json").unwrap()).unwrap();
        (files, figures(&report))
    };
    let before = content();
    workdir.ok(&["ship", "small.toml", "--out", "out", "-q", "--resume"]);
    let after = content();
    let same = |name: &&String| before.0.get(*name) == after.0.get(*name);
    let names: Vec<_> = after.0.keys().filter(|name| !same(name)).collect();
    assert!(names.is_empty() && before.0.len() == after.0.len(), "changed: {names:?}");
    assert_eq!(before.1["teacher"], after.1["teacher"]);
    assert_eq!(figures(&before.1["students"]["int8"]), figures(&after.1["students"]["int8"]));
}

#[test]
fn several_seeds_are_summed_up() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let report = workdir.json(&["ship", "small.toml", "--out", "out", "--seeds", "2"]);
    let written: Value = serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    assert_eq!(report, written);
    assert_eq!(report["seeds"]["seeds"], serde_json::json!([3, 4]));
    for (line, model) in report["seeds"]["accuracy"].as_array().unwrap().iter().zip([
        "teacher",
        "control",
        "students/f32",
        "students/f16",
        "students/int8",
    ]) {
        let values = [3, 4].map(|seed| {
            let path = format!("out/seed-{seed}/report.json");
            let report: Value = serde_json::from_slice(&workdir.read(&path)).unwrap();
            report.pointer(&format!("/{model}/accuracy")).and_then(Value::as_f64).unwrap()
        });
        assert_eq!(line["values"], serde_json::json!(values), "{model}");
        // Mean and sample deviation of two numbers: half their sum, their difference over √2.
        let [a, b] = values;
        let (mean, deviation) = (number(line, "mean"), number(line, "deviation"));
        assert!((mean - f64::midpoint(a, b)).abs() < 1e-12, "{model}: {line}");
        assert!((deviation - (a - b).abs() / 2_f64.sqrt()).abs() < 1e-12, "{model}: {line}");
    }
}

#[test]
fn a_gate_that_is_not_met_sets_the_exit_code_and_keeps_the_files() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let set = ["--set", "validate.min_agreement=1.0"];
    let output = workdir.run(&[&["ship", "small.toml", "--out", "out"], &set[..]].concat());
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stdout.contains("\nFAILED: student int8 agrees with the teacher: "),
        "{output:?}"
    );
    assert!(output.stdout.contains("at least 100.00 % (min-agreement)"), "{output:?}");
    assert!(workdir.path("out/student-int8.safetensors").is_file());
    let report: Value = serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    assert_eq!(report["passed"], false);
}

#[test]
fn explain_prints_a_recipe_that_is_the_same_run() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let printed = workdir.ok(&["ship", "small.toml", "--explain", "--set", "seed=9"]);
    assert!(printed.contains("\nseed = 9\n") && printed.contains("golden = 32"), "{printed}");
    workdir.write("whole.toml", &printed);
    assert_eq!(workdir.ok(&["ship", "whole.toml", "--explain"]), printed);
    assert!(!workdir.path("out").exists());
}

#[test]
fn distill_says_its_last_and_best_epoch_and_why_it_stopped() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let sets = [
        "data.validation=80",
        "distill.epochs=300",
        "distill.keep=best",
        "distill.early_stopping={ patience = 4 }",
        "distill.control=false",
        "distill.ema=0.9",
    ];
    let mut args = vec!["distill", "small.toml", "--out", "out"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let document = workdir.json(&args);
    let training = &document["student"]["training"];
    assert_eq!(
        (&training["stopped"], &training["kept"]),
        (&"early-stopping".into(), &"best".into())
    );
    let (last, best) = (number(training, "last.epoch"), number(training, "best.epoch"));
    assert!((last - best - 4.0).abs() < 1e-9 && last < 300.0, "{training}");
    assert!(
        number(training, "best.validation_accuracy")
            >= number(training, "last.validation_accuracy")
    );
    let kept = number(&document, "student.accuracy");
    assert!((number(training, "best_test_accuracy") - kept).abs() < 1e-9, "{document}");
    assert!((0.0..=1.0).contains(&number(training, "last_test_accuracy")));
    let text = workdir.ok(&[&args[..], &["--resume", "-q"]].concat());
    assert!(text.contains("(stopped early: validation accuracy grew no more)"), "{text}");
    assert!(text.contains(&format!("; best epoch {best}: ")) && text.contains("(kept)"), "{text}");
    let error = workdir.refused(&["distill", "small.toml", "--set", "distill.keep=best"]);
    assert!(error.contains("set data.validation to their number"), "{error}");
}
