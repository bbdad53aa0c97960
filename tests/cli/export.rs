//! `export`, and its files as models of their own; `inspect --check`; `validate --engine tract`.

use std::path::Path;
use std::process::Command;

use hipflask_runtime::Model;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::input::Preprocess;

use crate::runs::copy_of_small;
use crate::util::{Workdir, idx_images, number, run};

/// The folder of a small run, with its students as ONNX too.
fn with_exports() -> Workdir {
    let workdir = copy_of_small();
    for kind in ["f32", "f16", "int8"] {
        let (from, to) = (format!("out/student-{kind}.safetensors"), format!("{kind}.onnx"));
        let text = workdir.ok(&["export", &from, "--out", &to]);
        let format = if kind == "int8" { "int8 as QDQ" } else { "float" };
        assert!(text.starts_with(&format!("{to}: ")) && text.contains(format), "{text}");
    }
    workdir
}

fn graph(workdir: &Workdir, file: &str) -> hipflask_runtime::graph::Graph {
    ModelFile::from_bytes(&workdir.read(file), &LoadLimits::default()).unwrap().graph
}

#[test]
fn exported_students_answer_as_the_students_do() {
    let workdir = with_exports();
    let accuracy = |file: &str, kind: &str, engine: &str| {
        let args = ["validate", file, "--data", "small.toml", "--engine", engine];
        number(&workdir.json(&args), &format!("students.{kind}.accuracy"))
    };
    for kind in ["f32", "int8"] {
        let wanted = accuracy(&format!("out/student-{kind}.safetensors"), kind, "hipflask");
        for engine in ["hipflask", "tract"] {
            let found = accuracy(&format!("{kind}.onnx"), kind, engine);
            // The same integers of correct answers over the number of samples.
            assert!((found - wanted).abs() < 1e-12, "{kind} by {engine}: {found}, not {wanted}");
        }
    }
    let report =
        workdir.json(&["validate", "f32.onnx", "--data", "small.toml", "--engine", "tract"]);
    assert_eq!(report["students"]["f32"]["isa"], "tract");
}

/// tract reads `MatMulNBits` of 4 bits by code of its own.
#[test]
fn weights_in_groups_are_exported_for_onnx_runtime_and_tract() {
    let workdir = copy_of_small();
    let student = "out/student-f32.safetensors";
    workdir.ok(&["quantize", student, "--data", "small.toml", "--to", "w8,w4", "--out", "q", "-q"]);
    let accuracy = |file: &str, kind: &str, engine: &str| {
        let args = ["validate", file, "--data", "small.toml", "--engine", engine];
        number(&workdir.json(&args), &format!("students.{kind}.accuracy"))
    };
    for kind in ["w8", "w4"] {
        let (from, to) = (format!("q/student-{kind}.safetensors"), format!("{kind}.onnx"));
        let text = workdir.ok(&["export", &from, "--out", &to]);
        assert!(text.contains("weights in groups as ONNX Runtime's MatMulNBits"), "{text}");
        let wanted = accuracy(&from, kind, "hipflask");
        assert!((accuracy(&to, "f32", "hipflask") - wanted).abs() < 1e-12, "{kind}");
        if kind == "w4" {
            assert!((accuracy(&to, "f32", "tract") - wanted).abs() < 1e-12);
            assert_eq!(workdir.json(&["inspect", &to, "--check"])["passed"], true);
        }
    }
}

#[test]
fn exported_students_know_their_preprocessing_and_classes() {
    let workdir = with_exports();
    let image = idx_images(1, 8)[16..].to_vec();
    workdir.write("image.raw", image);
    for kind in ["f32", "int8"] {
        let [found, wanted] = [format!("{kind}.onnx"), format!("out/student-{kind}.safetensors")]
            .map(|file| workdir.json(&["predict", &file, "image.raw"])["predictions"].clone());
        assert_eq!(found, wanted);
    }
}

#[test]
fn an_exported_int8_student_becomes_the_same_file_again() {
    let workdir = with_exports();
    let args = ["quantize", "int8.onnx", "--data", "small.toml", "--out", "again"];
    let text = workdir.ok(&[&args[..], &["-q"]].concat());
    assert!(text.starts_with("again/int8-int8.safetensors: "), "{text}");
    let (found, wanted) = ("again/int8-int8.safetensors", "out/student-int8.safetensors");
    assert_eq!(graph(&workdir, found), graph(&workdir, wanted));
    let preprocess = |file| Model::open(workdir.path(file)).unwrap().preprocess().cloned();
    assert_eq!(preprocess(found), preprocess(wanted));
    let error = workdir.refused(&["quantize", "int8.onnx", "--data", "small.toml", "--to", "f16"]);
    assert!(error.contains("int8.onnx: it is int8 already"), "{error}");
}

#[test]
fn check_compares_with_tract() {
    let workdir = with_exports();
    for kind in ["f32", "int8"] {
        let text = workdir.ok(&["inspect", &format!("{kind}.onnx"), "--check"]);
        assert!(text.starts_with(&format!("passed: {kind}.onnx: largest difference")), "{text}");
    }
    let found = workdir.json(&["inspect", "f32.onnx", "--check"]);
    assert!(number(&found, "largest_of_span") < 1e-5, "{found}");
    // 16 samples of 10 classes.
    assert_eq!((found["values"].as_u64(), found["passed"].as_bool()), (Some(160), Some(true)));
    let error = workdir.refused(&["inspect", "out/student-f32.safetensors", "--check"]);
    assert!(error.contains("hipflask export makes one"), "{error}");
    let args = ["validate", "out/student-f32.safetensors", "--engine", "tract"];
    assert!(workdir.refused(&args).contains("hipflask export makes one"));
}

#[test]
fn an_export_does_not_overwrite_its_model() {
    let workdir = with_exports();
    let error = workdir.refused(&["export", "f32.onnx"]);
    assert!(error.contains("f32.onnx: is ONNX already"), "{error}");
    let written = workdir.json(&["export", "out/student-int8.safetensors"]);
    assert_eq!(written["file"], "out/student-int8.onnx");
    assert_eq!(written["bytes"], workdir.read("out/student-int8.onnx").len());
    assert_eq!(written["format"], "qdq");
}

/// The runtime's golden networks that are int8 throughout, and those that are not.
const COMPILED: [&str; 5] = ["channels", "depthwise", "mixed", "mlp", "residual"];
const NOT_INT8: [&str; 3] = ["patches", "text", "weight-only"];

fn golden(network: &str, kind: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/tests/golden");
    folder.join(format!("{network}{kind}.safetensors")).display().to_string()
}

/// Every value of every sample, by its digest, in a program that rustc compiled.
#[test]
fn networks_written_as_programs_have_the_recorded_bits() {
    let workdir = Workdir::new();
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime");
    let manifest = format!(
        "[workspace]\n[package]\nname = \"programs\"\nedition = \"2024\"\n\n[dependencies.hipflask-runtime]\n\
         path = {runtime:?}\ndefault-features = false\n\n[profile.dev]\ndebug = false\n"
    );
    workdir.write("Cargo.toml", manifest);
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    workdir.write("Cargo.lock", std::fs::read(lock).unwrap());
    let mut main = String::from("#![deny(warnings)]\n");
    for network in COMPILED {
        let [model, samples] = ["", ".golden"].map(|kind| golden(network, kind));
        let file = format!("src/{network}.rs");
        let args = ["export", &model, "--golden", &samples, "--out", &file];
        assert_eq!(workdir.json(&args)["format"], "rust");
        main += &format!("#[allow(dead_code)]\nmod {network};\n");
    }
    main += "use hipflask_runtime::compiled::{Arena, Verdict};\nfn main() {\n";
    for network in COMPILED {
        main += &format!(
            "    let verdict: Verdict = {network}::verify(&mut Arena::new());\n    \
             println!(\"{network} {{}} of {{}} {{:?}}\", verdict.equal, verdict.samples, \
             verdict.first_divergence);\n"
        );
    }
    workdir.write("src/main.rs", main + "}\n");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = run(cargo.current_dir(workdir.path("")).args(["run", "--offline", "--quiet"]));
    assert_eq!(output.code, 0, "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), COMPILED.len());
    for (line, network) in lines.iter().zip(COMPILED) {
        let samples = hipflask_runtime::golden::Golden::from_bytes(
            &std::fs::read(golden(network, ".golden")).unwrap(),
        );
        let count = samples.unwrap().inputs.len();
        assert_eq!(*line, format!("{network} {count} of {count} None"));
    }
}

/// One table a channel of the image, also where the network takes its pixels as a row.
#[test]
fn a_program_knows_what_a_byte_of_an_image_becomes() {
    let workdir = copy_of_small();
    let model = "out/student-int8.safetensors";
    workdir.ok(&["export", model, "--out", "student.rs"]);
    let text = String::from_utf8(workdir.read("student.rs")).unwrap();
    let table = text.split("pub static PIXELS: [[i8; 256]; 1] = [\n    [").nth(1).unwrap();
    let table = table.split(']').next().unwrap().split(", ").map(|n| n.parse::<i8>().unwrap());
    let file = ModelFile::from_bytes(&workdir.read(model), &LoadLimits::default()).unwrap();
    let Some(Preprocess::Image(rule)) = &file.preprocess else { panic!("reads images") };
    let graph = Model::from_graph(file.graph.clone()).unwrap().graph().clone();
    let quant = graph.values.iter().find_map(|value| value.quant).unwrap();
    let wanted = rule.table(0).map(|value| quant.quantize(value));
    assert_eq!(table.collect::<Vec<_>>(), wanted);
}

/// The firmware's program is what is written today.
#[test]
fn the_example_is_as_it_would_be_written() {
    let workdir = Workdir::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cortex-m");
    let [model, golden] = ["model", "golden"]
        .map(|name| example.join(name).with_extension("safetensors").display().to_string());
    workdir.ok(&["export", &model, "--golden", &golden, "--out", "student.rs"]);
    let kept = std::fs::read(example.join("src/student.rs")).unwrap();
    assert!(workdir.read("student.rs") == kept, "export it again: docs/cortex-m.md says how");
}

#[test]
fn networks_that_cannot_be_programs_are_refused_by_node() {
    let workdir = Workdir::new();
    for network in NOT_INT8 {
        let refused = workdir.refused(&["export", &golden(network, ""), "--out", "n.rs"]);
        assert!(refused.contains("load the model file instead"), "{refused}");
    }
    let (model, other) = (golden("mlp", ""), golden("residual", ".golden"));
    let refused = workdir.refused(&["export", &model, "--out", "n.rs", "--golden", &other]);
    assert!(refused.contains("recorded with another model"), "{refused}");
    let refused = workdir.refused(&["export", &model, "--out", "n.onnx", "--golden", &other]);
    assert!(refused.contains("--golden: only a Rust program"), "{refused}");
}
