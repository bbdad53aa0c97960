//! Losses of inner values, named by node, through the commands.

use std::collections::BTreeMap;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;
use serde_json::Value;

use crate::util::{Workdir, number};

/// A second of training on half of the digits.
const RECIPE: &str = r#"
name = "inner"
seed = 5

[data]
limit = 700
mean = [0.2874]
std = [0.3540]
augment = ["crop:1"]

[teacher]
layers = ["conv 16 3x3", "bn", "relu", "max-pool 2x2", "linear 32", "relu"]
epochs = 6
batch_size = 32
optimizer = { kind = "adam", lr = 3e-3 }

[student]
layers = ["conv 6 3x3", "relu", "max-pool 2x2", "linear 24", "relu"]

[distill]
loss = [
    { kind = "hint", student = "act1", teacher = "act1", weight = 0.5 },
    { kind = "crd", dimensions = 16, weight = 0.02 },
    { kind = "kd", weight = 0.9 },
    { kind = "cross-entropy", weight = 0.1 },
]
epochs = 10
batch_size = 32
optimizer = { kind = "adam", lr = 3e-3 }
control = true

[bundle]
targets = []
"#;

fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("inner.toml", RECIPE);
    workdir
}

/// Names and shapes of the tensors in a file.
fn tensors(bytes: &[u8]) -> BTreeMap<String, Vec<usize>> {
    let graph = ModelFile::from_bytes(bytes, &LoadLimits::default()).unwrap().graph;
    graph.tensors.iter().map(|(name, t)| (name.clone(), t.shape().to_vec())).collect()
}

#[test]
fn a_student_with_hints_is_shipped_without_what_taught_it() {
    let workdir = workdir();
    let report = workdir.json(&["ship", "inner.toml", "--out", "out", "-q"]);
    assert!(number(&report, "students.int8.accuracy") > 0.7, "{report}");
    let (student, control) =
        (workdir.read("out/student-f32.safetensors"), workdir.read("out/control-f32.safetensors"));
    assert_eq!(tensors(&student), tensors(&control));
    assert!(student != control);
    let metrics = String::from_utf8(workdir.read("out/metrics-student.jsonl")).unwrap();
    let epochs: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for term in ["hint", "crd", "kd", "cross-entropy"] {
        let at = |epoch: &Value| number(epoch, &format!("terms.{term}"));
        assert!(at(&epochs[9]) < at(&epochs[0]), "{term}: {metrics}");
    }
    let checkpoint = workdir.read("out/checkpoints/student.safetensors");
    let header = String::from_utf8_lossy(&checkpoint[..8192]).into_owned();
    for name in ["objective.0.hint.act1.act1.weight", "objective.1.crd.teacher.memory"] {
        assert!(header.contains(name), "{name} in {header}");
    }
}

#[test]
fn inspect_lists_the_nodes_that_a_recipe_may_name() {
    let workdir = workdir();
    let listed = workdir.ok(&["inspect", "inner.toml"]);
    for line in
        ["student: network ", "  conv1      conv2d            [6, 8, 8]", "teacher: network "]
    {
        assert!(listed.contains(line), "{line:?} in\n{listed}");
    }
    let document = workdir.json(&["inspect", "inner.toml"]);
    let nodes = document["teacher"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|n| n["op"] == "batch-norm" && n["shape"][0] == 16), "{document}");
    assert!(!workdir.path("out").exists());
}

#[test]
fn nodes_and_teachers_that_do_not_fit_are_refused_before_anything_is_trained() {
    let workdir = workdir();
    let refused = |set: &str| {
        let error = workdir.refused(&["ship", "inner.toml", "--out", "out", "--set", set]);
        assert!(!workdir.path("out/teacher.safetensors").exists());
        error
    };
    let error = refused(r#"distill.loss=[{ kind = "hint", student = "act1", teacher = "atc1" }]"#);
    assert!(
        error.contains("loss of the student") && error.contains(r#"did you mean "act1"?"#),
        "{error}"
    );
    let error = refused(r#"distill.loss=[{ kind = "hint", student = "act1" }]"#);
    assert!(error.contains("a hint needs two images"), "{error}");
    let error = refused("distill.cache_views=4");
    assert!(error.contains("distill.cache_views keeps the teacher's logits, and hint"), "{error}");
    workdir.ok(&["ship", "inner.toml", "--out", "other", "-q", "--set", "distill.epochs=6"]);
    let error = refused("teacher.file=other/student-int8.safetensors");
    assert!(error.contains("shows its logits only"), "{error}");
}

#[test]
fn teacher_student_and_control_learn_from_mixtures() {
    let workdir = workdir();
    let sets = [
        r#"teacher.mix={ kind = "mixup" }"#,
        r#"distill.mix={ kind = "cutmix", probability = 0.5 }"#,
        r#"distill.loss=[{ kind = "hint", student = "act1", teacher = "act1", weight = 0.5 }, { kind = "dkd" }, { kind = "cross-entropy" }]"#,
    ];
    let mut args = vec!["ship", "inner.toml", "--out", "out"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let explained = workdir.ok(&[&args[..], &["--explain"]].concat());
    assert!(explained.contains("[distill.mix]\nkind = \"cutmix\"\nalpha = 1.0\n"), "{explained}");
    let report = workdir.json(&args);
    assert!(number(&report, "students.int8.accuracy") > 0.7, "{report}");
    assert!(number(&report, "control.accuracy") > 0.7, "{report}");
    let refused = |set: &str| workdir.refused(&["ship", "inner.toml", "--set", set]);
    let error = refused(r#"distill.mix={ kind = "mixup", alpha = 9 }"#);
    assert!(error.contains("distill.mix: alpha is 9"), "{error}");
    let error = refused(r#"distill.mix={ kind = "mixup" }"#);
    assert!(error.contains("leave crd or mix out"), "{error}");
}
