//! `export`, and its files as models of their own; `inspect --check`; `validate --engine tract`.

use hipflask_runtime::Model;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;

use crate::runs::copy_of_small;
use crate::util::{Workdir, idx_images, number};

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
