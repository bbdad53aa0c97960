//! `quantize`: from the f32 student to int8 and f16.

use std::collections::BTreeSet;

use hipflask_runtime::{DType, Model};

use crate::runs::{copy_of_small, digits, small};
use crate::util::{Workdir, files, number};

#[test]
fn it_makes_what_ship_makes() {
    let workdir = copy_of_small();
    let args = ["quantize", "out/student-f32.safetensors", "--data", "small.toml", "--out", "q"];
    let made = workdir.json(&args);
    let names: Vec<_> = files(&workdir.path("q")).into_keys().collect();
    assert_eq!(names, ["student-f16.safetensors", "student-int8.safetensors"]);
    for (i, (format, dtype)) in [("int8", DType::I8), ("f16", DType::F16)].into_iter().enumerate() {
        let file = format!("q/student-{format}.safetensors");
        let [found, wanted] = [&file, &format!("out/student-{format}.safetensors")]
            .map(|name| Model::open(workdir.path(name)).unwrap());
        assert_eq!(found.graph(), wanted.graph(), "{format}");
        assert_eq!(found.preprocess(), wanted.preprocess());
        assert_eq!(found.card().labels, wanted.card().labels);
        assert!(found.card().metrics.is_empty(), "figures of the f32 student are not this one's");
        assert!(found.graph().tensors.values().any(|tensor| tensor.dtype() == dtype));
        let bytes = workdir.read(&file).len();
        assert_eq!((&made[i]["file"], &made[i]["bytes"]), (&file.into(), &bytes.into()));
        let share = bytes as f64 / workdir.read("out/student-f32.safetensors").len() as f64;
        assert!((number(&made[i], "of_f32") - share).abs() < 1e-12);
    }
}

#[test]
fn results_are_named_after_the_model_and_lie_beside_it() {
    let workdir = Workdir::new();
    let student = small().read("out/student-f32.safetensors");
    workdir.write("net.safetensors", &student);
    workdir.write("tiny-f32.safetensors", &student);
    let text = workdir.ok(&["quantize", "net.safetensors", "--to", "f16", "-q"]);
    assert!(text.starts_with("net-f16.safetensors: ") && text.contains(" % of the f32 file\n"));
    assert!(text.contains("Next: hipflask validate net-f16.safetensors "), "{text}");
    workdir.ok(&["quantize", "tiny-f32.safetensors", "--to", "int8", "-q"]);
    let names: Vec<_> = files(&workdir.path("")).into_keys().collect();
    assert_eq!(
        names,
        ["net-f16.safetensors", "net.safetensors", "tiny-f32.safetensors", "tiny-int8.safetensors"]
    );
}

#[test]
fn every_method_gives_a_student_of_its_own_that_holds_its_accuracy() {
    let workdir = Workdir::new();
    let student = digits().path("out/digits/student-f32.safetensors").display().to_string();
    let accuracy = |file: &str, format: &str| {
        number(&workdir.json(&["validate", file]), &format!("students.{format}.accuracy"))
    };
    let f32 = accuracy(&student, "f32");
    let mut made = BTreeSet::new();
    for method in ["min-max", "percentile", "mse"] {
        let args = ["quantize", &student, "--to", "int8", "--out", method, "--method", method];
        workdir.ok(&[&args[..], &["-q"]].concat());
        let file = format!("{method}/student-int8.safetensors");
        let int8 = accuracy(&file, "int8");
        assert!((f32 - int8).abs() <= 0.01, "{method}: {int8}, f32 {f32}");
        made.insert(workdir.read(&file));
    }
    assert_eq!(made.len(), 3, "two methods found the same ranges");
    let output = workdir.run(&["quantize", &student, "--method", "kl"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("min-max, percentile, mse"), "{output:?}");
}

#[test]
fn a_converted_student_is_no_starting_point() {
    for format in ["int8", "f16"] {
        let file = format!("out/student-{format}.safetensors");
        let error = small().refused(&["quantize", &file]);
        assert!(error.starts_with(&format!("error: {file}: it is already converted")), "{error}");
    }
}

#[test]
fn calibration_without_samples_is_refused() {
    let workdir = copy_of_small();
    let error = workdir.refused(&["quantize", "out/student-f32.safetensors", "--calibrate", "0"]);
    assert!(error.contains("calibration: no samples were given"), "{error}");
    workdir.write("images", crate::util::idx_images(20, 8));
    workdir.write("labels", crate::util::idx_labels(20));
    workdir.write("test.toml", "[data]\nformat = \"idx\"\ntest = [\"images\", \"labels\"]\n");
    let args = ["quantize", "out/student-f32.safetensors", "--data", "test.toml"];
    let error = workdir.refused(&args);
    assert!(error.contains("no samples were given") && error.contains("data.train"), "{error}");
    let error = workdir.refused(&["quantize", args[1], "--set", "data.limit=0"]);
    assert!(error.contains("data.limit"), "{error}");
    // f16 needs none.
    workdir.ok(&[&args[..], &["--to", "f16", "--out", "q", "-q"]].concat());
}
