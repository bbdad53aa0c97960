//! The recipes of `examples/` on the first images of the real data, and the article's PyTorch model.
//! Needs `HIPFLASK_DATA`.

use std::path::{Path, PathBuf};
use std::process::Command;

use hipflask::recipe::Recipe;
use hipflask::stages::samples::Samples;
use hipflask_distill::data::{self, DataSet, DataSpec, Places, Split};
use hipflask_runtime::{Model, Options, Session};

use crate::util::{Output, Workdir, idx, number, run, skipped};

const TRAIN: usize = 1500;
const TEST: usize = 300;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A folder with the first images of MNIST and Fashion-MNIST under their own names.
fn cut_data(test: &str) -> Option<Workdir> {
    let Some(shared) = std::env::var_os("HIPFLASK_DATA") else {
        skipped(test, "HIPFLASK_DATA is not set");
        return None;
    };
    let workdir = Workdir::new();
    let places = Places { beside: None, shared: Some(shared.into()) };
    for recipe in ["seed-mlp.toml", "fashion-dscnn.toml"] {
        let spec = Recipe::load(Some(&example(recipe)), &[]).unwrap().data;
        let data = DataSet::open(&spec, &places, 0).unwrap();
        std::fs::create_dir(workdir.path(&spec.name())).unwrap();
        write(&workdir, &spec, &spec.train, &data.train, TRAIN);
        write(&workdir, &spec, &spec.test, &data.test, TEST);
    }
    Some(workdir)
}

fn write(workdir: &Workdir, spec: &DataSpec, names: &[PathBuf], split: &Split, count: usize) {
    let cut = split.select(&(0..count).collect::<Vec<_>>());
    let labels: Vec<u8> = cut.labels.unwrap().iter().map(|&label| label as u8).collect();
    let data::Samples::Images { shape: [_, h, w], pixels } = &cut.samples else {
        panic!("no images")
    };
    let files = [idx(&[count, *h, *w], pixels), idx(&[count], &labels)];
    for (name, bytes) in names.iter().zip(files) {
        workdir.write(&format!("{}/{}", spec.name(), name.display()), bytes);
    }
}

/// `ship` of an example in `workdir`, with the data there, on the best instruction set.
fn ship(workdir: &Workdir, recipe: &str, sets: &[&str]) -> Output {
    let mut command = workdir.command();
    command.arg("ship").arg(example(recipe)).args(["--json", "--set", "bundle.targets=[]"]);
    command.args(sets.iter().flat_map(|set| ["--set", set]));
    run(command.env("HIPFLASK_DATA", workdir.path("")).env_remove("HIPFLASK_ISA"))
}

#[test]
fn the_articles_system_runs_and_its_student_is_the_pytorch_model() {
    let Some(workdir) = cut_data("the_articles_system_runs_and_its_student_is_the_pytorch_model")
    else {
        return;
    };
    let sets = ["teacher.epochs=3", "distill.epochs=4", "data.limit=1400"];
    let output = ship(&workdir, "seed-mlp.toml", &sets);
    assert!(output.code < 2, "{output:?}");
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(number(&report, "data.train") as usize, 1400);
    // 1400 images and a few epochs; the whole of MNIST gives 97 %.
    assert!(number(&report, "students.f32.accuracy") > 0.7, "{report}");
    let (f32, int8) = ("students.f32.accuracy", "students.int8.accuracy");
    assert!((number(&report, f32) - number(&report, int8)).abs() <= 0.011, "{report}");

    let student = workdir.path("out/seed-mlp/student-f32.safetensors");
    let model = Model::open(&student).unwrap();
    let spec = Recipe::load(Some(&example("seed-mlp.toml")), &[]).unwrap().data;
    let places = Places { beside: None, shared: Some(workdir.path("")) };
    let data = DataSet::open(&spec, &places, 0).unwrap();
    let samples = Samples::new(&data.test, model.preprocess().unwrap()).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let inputs: Vec<Vec<f32>> = (0..samples.len()).map(|i| samples.get(i)).collect();
    let logits: Vec<Vec<f32>> =
        inputs.iter().map(|input| session.predict(input).unwrap().to_vec()).collect();

    // The article's module by hand: fc2(relu(fc1(x))), from the tensors as PyTorch names them.
    let tensors = &model.graph().tensors;
    let names: Vec<_> = tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]);
    let floats = |name: &str| -> Vec<f32> { read_tensor(&std::fs::read(&student).unwrap(), name) };
    let [w1, b1, w2, b2] = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"].map(floats);
    let linear = |w: &[f32], b: &[f32], x: &[f32]| -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum::<f64>();
        w.chunks(x.len()).zip(b).map(|(row, b)| (dot(row) + f64::from(*b)) as f32).collect()
    };
    for (input, found) in inputs.iter().zip(&logits) {
        let hidden: Vec<f32> = linear(&w1, &b1, input).iter().map(|v| v.max(0.0)).collect();
        let wanted = linear(&w2, &b2, &hidden);
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
        assert!(!found.iter().zip(&wanted).any(far), "{found:?}, by hand {wanted:?}");
    }

    let bytes = |rows: &[Vec<f32>]| -> Vec<u8> {
        rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect()
    };
    workdir.write("inputs.f32", bytes(&inputs));
    workdir.write("logits.f32", bytes(&logits));
    in_pytorch(&student, &workdir);
}

/// The tensor `name` of a safetensors file, read as the format's specification says.
fn read_tensor(file: &[u8], name: &str) -> Vec<f32> {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let [start, end] = [0, 1].map(|i| number(&header[name]["data_offsets"], &i.to_string()));
    assert_eq!(header[name]["dtype"], "F32");
    let values = data[start as usize..end as usize].as_chunks::<4>().0;
    values.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// Compares with PyTorch where it is installed.
fn in_pytorch(student: &Path, workdir: &Workdir) {
    const TEST: &str = "the_articles_system_runs_and_its_student_is_the_pytorch_model";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/student_model.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(student);
    python.args(["inputs.f32", "logits.f32"].map(|name| workdir.path(name)));
    let Ok(output) = python.output() else {
        return skipped(TEST, "the part with PyTorch: there is no python3");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(77) => {
            let why = text.trim().trim_start_matches("skipped: ");
            skipped(TEST, &format!("the part with PyTorch: {why}"));
        }
        code => assert_eq!(code, Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn every_example_runs() {
    let Some(workdir) = cut_data("every_example_runs") else { return };
    let mut names: Vec<_> =
        std::fs::read_dir(example("")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(names.len() >= 5, "{names:?}");
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut sets = vec!["teacher.epochs=3", "distill.epochs=1", "teacher.width=4"];
        let recipe = Recipe::load(Some(&path), &[]).unwrap();
        // The data of the others are not cut; `tables` runs tabular.toml.
        if !matches!(recipe.data.format, data::DataFormat::Digits | data::DataFormat::Idx) {
            continue;
        }
        // These teach each other, without a teacher: `peers` runs such.
        if !recipe.distill.peers.is_empty() {
            continue;
        }
        if recipe.teacher.network.as_deref() == Some("mlp") {
            sets.pop();
        }
        if !recipe.teacher.assistants.is_empty() {
            sets.push("teacher.assistants.0.epochs=2");
        }
        let ensemble;
        match name {
            "fashion-dscnn.toml" => sets.push("student.width=8"),
            // Its teachers are the one that fashion-dscnn.toml, run before it, has trained.
            "fashion-ensemble.toml" => {
                let file = workdir.path("out/fashion-dscnn/teacher.safetensors");
                let member = format!("{{ file = {file:?} }}");
                ensemble = format!("teacher.ensemble=[{member}, {member}]");
                let small = "student.size_budget=\"2000 params\"";
                sets = vec!["distill.epochs=1", "teacher.expect_accuracy=0.2", small, &ensemble];
            }
            _ => sets.push("quantize.calibration.samples=128"),
        }
        let output = ship(&workdir, name, &sets);
        // A student of one epoch meets no gate.
        assert!(output.code < 2, "{name}: {output:?}");
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let chance = 1.0 / report["data"]["classes"].as_array().unwrap().len() as f64;
        assert!(number(&report, "teacher.accuracy") > 2.0 * chance, "{name}: {report}");
        assert!(number(&report, "students.int8.accuracy") > chance, "{name}: {report}");
        let gain =
            number(&report, "students.int8.accuracy") - number(&report, "students.f32.accuracy");
        assert!(gain.abs() <= 0.05, "{name}: int8 differs from f32 by {gain}");
    }
}
