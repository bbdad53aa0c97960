//! Ensembles of teachers, and teachers that get their samples or classes otherwise than they learnt.

use hipflask_runtime::Tensor;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;

use crate::runs::{SMALL, copy_of_small};
use crate::util::{Workdir, idx, idx_images, number};

const TEACHER: &str = "out/teacher.safetensors";
const STUDENT: &str = "out/student-f32.safetensors";

/// The folder of a small run with a recipe `several.toml` whose teacher is `table`.
fn with_teacher(table: &str) -> Workdir {
    let workdir = copy_of_small();
    let (head, rest) = SMALL.split_once("[teacher]").unwrap();
    let (_, student) = rest.split_once("[student]").unwrap();
    let text = format!("{head}[teacher]\n{table}\n[student]{student}");
    workdir.write("several.toml", text.replace("control = true", "control = false"));
    workdir
}

fn ensemble(weight: f64) -> String {
    format!(
        "ensemble = [{{ file = \"{TEACHER}\" }}, {{ file = \"{STUDENT}\", weight = {weight:?} }}]"
    )
}

/// The small run's teacher with its classes `classes` in that order.
fn reordered(workdir: &Workdir, classes: &[usize]) -> Vec<u8> {
    let mut file = ModelFile::from_bytes(&workdir.read(TEACHER), &LoadLimits::default()).unwrap();
    for name in ["fc2.weight", "fc2.bias"] {
        let tensor = &file.graph.tensors[name];
        let values = tensor.f32s().unwrap();
        let rows: Vec<&[f32]> = values.chunks(values.len() / classes.len()).collect();
        let moved: Vec<f32> = classes.iter().flat_map(|&class| rows[class]).copied().collect();
        let tensor = Tensor::from_f32(tensor.shape().to_vec(), &moved);
        file.graph.tensors.insert(name.into(), tensor);
    }
    file.to_bytes()
}

#[test]
fn the_members_of_an_ensemble_are_scored_one_by_one_and_together() {
    let workdir = with_teacher(&ensemble(1.0));
    let report: serde_json::Value =
        serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    let run = workdir.json(&["distill", "several.toml", "--out", "o"]);
    let wanted = ["teacher.accuracy", "students.f32.accuracy"].map(|path| number(&report, path));
    let found = [0, 1].map(|i| number(&run, &format!("teacher.members.{i}.accuracy")));
    assert_eq!(found.map(f64::to_bits), wanted.map(f64::to_bits));
    assert_eq!(run["teacher"]["name"], "teacher.safetensors + student-f32.safetensors");
    assert!(number(&run, "teacher.accuracy") > 0.85, "{run}");
    assert!(number(&run, "student.accuracy") > 0.8, "{run}");

    let text = workdir.ok(&["ship", "several.toml", "--out", "o", "-q"]);
    assert!(text.contains("\n  member 1 ") && text.contains("\n  member 2 "), "{text}");
    let student = workdir.read("o/student-f32.safetensors");
    let set = ["--set", "teacher.average=probabilities"];
    let text = workdir.ok(&[&["distill", "several.toml", "--out", "p", "-q"], &set[..]].concat());
    assert!(text.contains("\n  student-f32.safetensors, weight 1: "), "{text}");
    assert!(workdir.read("p/student-f32.safetensors") != student, "the mean changed nothing");
}

#[test]
fn the_weights_of_an_ensemble_decide() {
    let workdir = with_teacher(&ensemble(1e-6));
    let text = workdir.json(&["teacher", "several.toml", "--out", "o"]);
    let [all, first, second] = ["accuracy", "members.0.accuracy", "members.1.accuracy"]
        .map(|path| number(&text, &format!("teacher.{path}")).to_bits());
    assert!(all == first && first != second, "{text}");
}

#[test]
fn an_ensemble_that_cannot_be_is_refused_with_its_line() {
    let error =
        |table: &str| with_teacher(table).refused(&["teacher", "several.toml", "--out", "o"]);
    let found = error(&ensemble(0.0));
    assert!(found.contains("several.toml, line 11: teacher.ensemble.1.weight is 0: "), "{found}");
    let found = error(&format!("network = \"mlp\"\n{}", ensemble(1.0)));
    assert!(found.contains("line 12: [teacher] has an ensemble: "), "{found}");
    let found = error("file = \"x.onnx\"\naverage = \"logits\"");
    assert!(found.contains("line 12: teacher.average is for an ensemble"), "{found}");
    let found = error("ensemble = [{ file = \"none.pth\", network = \"mlp\" }]");
    assert!(found.contains("teacher.ensemble.0.file: none.pth is not there"), "{found}");
    let found = error("ensemble = [{ weight = 2.0 }]");
    assert!(found.contains("key \"file\" is missing in [teacher.ensemble]"), "{found}");
    let found = error(&format!("{}\nexpect_accuracy = 0.999", ensemble(1.0)));
    let name = "teacher teacher.safetensors + student-f32.safetensors: ";
    assert!(found.contains(name) && found.contains("below 99.90 % (expect_accuracy)"), "{found}");
}

#[test]
fn a_member_of_another_number_of_classes_is_refused() {
    let workdir = with_teacher(&ensemble(1.0));
    workdir.write("images", idx_images(40, 8));
    workdir.write("labels", idx(&[40], &[0, 1, 2, 3].repeat(10)));
    let files = "[\"images\", \"labels\"]";
    let sets =
        ["data.format=idx".into(), format!("data.train={files}"), format!("data.test={files}")];
    let sets: Vec<&str> = sets.iter().flat_map(|set: &String| ["--set", set]).collect();
    let args = [&["teacher", "several.toml", "--out", "o"], &sets[..]].concat();
    let error = workdir.refused(&args);
    let wanted = "teacher.safetensors: tells 10 classes apart, the data set has 4";
    assert!(error.contains(wanted), "{error}");
}

#[test]
fn a_teacher_with_a_wrong_range_is_refused_with_the_one_that_fits() {
    let workdir = with_teacher(&format!("file = \"{TEACHER}\"\nrange = [1.0, -1.0]"));
    let error = workdir.refused(&["distill", "several.toml", "--out", "o"]);
    let said = "teacher teacher.safetensors: ";
    assert!(error.contains(said) && error.contains(" % accuracy on 360 test samples"), "{error}");
    let (_, advice) = error.split_once("; in [teacher] it does better with ").unwrap();
    let keys = "range = [0.0, 1.0], mean = [0.2874], std = [0.354] (";
    assert!(advice.contains(keys) && advice.contains(" % on 256 of them)"), "{error}");
    // What it says helps.
    let sets = ["teacher.range=[0.0, 1.0]", "teacher.mean=[0.2874]", "teacher.std=[0.354]"];
    let sets = sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>();
    workdir.ok(&[&["teacher", "several.toml", "--out", "o", "-q"], &sets[..]].concat());
}

#[test]
fn a_member_with_a_wrong_range_is_named() {
    let member = format!("{{ file = \"{TEACHER}\", range = [1.0, -1.0] }}");
    let workdir = with_teacher(&format!("ensemble = [{{ file = \"{STUDENT}\" }}, {member}]"));
    let error = workdir.refused(&["teacher", "several.toml", "--out", "o"]);
    let place = "in teacher.ensemble.1 (out/teacher.safetensors) it does better with range = ";
    assert!(error.contains(place), "{error}");
}

#[test]
fn a_teacher_with_its_classes_in_another_order_is_refused_with_that_order() {
    let workdir = with_teacher("file = \"moved.safetensors\"");
    let order = [3, 4, 5, 6, 7, 8, 9, 0, 1, 2];
    workdir.write("moved.safetensors", reordered(&workdir, &order));
    let error = workdir.refused(&["teacher", "several.toml", "--out", "o"]);
    let advice = "it has its classes in another order: ";
    let key = format!(" % with class_order = {order:?} in [teacher]");
    assert!(error.contains(advice) && error.contains(&key), "{error}");
    let set = format!("teacher.class_order={order:?}");
    let args = ["teacher", "several.toml", "--out", "o", "--set", &set];
    let found = number(&workdir.json(&args), "teacher.accuracy");
    let report: serde_json::Value =
        serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    assert_eq!(found.to_bits(), number(&report, "teacher.accuracy").to_bits());
    let error =
        workdir.refused(&["teacher", "several.toml", "--set", "teacher.class_order=[1, 0]"]);
    assert!(
        error.contains("class_order = [1, 0] must have each class from 0 to 9 once"),
        "{error}"
    );
}
