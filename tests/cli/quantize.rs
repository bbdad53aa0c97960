//! `quantize`: from the f32 student to int8, f16 and weights in groups.

use std::collections::BTreeSet;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::{LoadLimits, Op};
use hipflask_runtime::{DType, Model, Tensor};

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
    for method in ["min-max", "moving-average", "percentile", "entropy", "mse"] {
        let args = ["quantize", &student, "--to", "int8", "--out", method, "--method", method];
        workdir.ok(&[&args[..], &["-q"]].concat());
        let file = format!("{method}/student-int8.safetensors");
        let int8 = accuracy(&file, "int8");
        assert!((f32 - int8).abs() <= 0.01, "{method}: {int8}, f32 {f32}");
        made.insert(workdir.read(&file));
    }
    assert_eq!(made.len(), 5, "two methods found the same ranges");
    let output = workdir.run(&["quantize", &student, "--method", "kl"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("percentile, entropy, mse, auto"), "{output:?}");
}

/// 64 inputs by 16 units are just large enough; the last layer, 16 by 10, is not.
#[test]
fn weights_in_groups_are_smaller_than_f16_and_keep_the_accuracy() {
    let workdir = copy_of_small();
    let made = workdir.json(&[
        "quantize",
        "out/student-f32.safetensors",
        "--data",
        "small.toml",
        "--to",
        "f16,w8,w4",
        "--group-size",
        "64",
        "--out",
        "q",
    ]);
    let bytes: Vec<f64> = (0..3).map(|i| number(&made[i], "bytes")).collect();
    // 1024 weights: a byte less each, then half a byte; scales and longer headers take some back.
    assert!(bytes[1] < bytes[0] - 700.0 && bytes[2] < bytes[1] - 500.0, "{bytes:?}");
    let files =
        ["q/student-f16.safetensors", "q/student-w8.safetensors", "q/student-w4.safetensors"];
    let args = [&["validate"][..], &files, &["--data", "small.toml"]].concat();
    let report = workdir.json(&args);
    let accuracy = |format: &str| number(&report, &format!("students.{format}.accuracy"));
    assert!((accuracy("w8") - accuracy("f16")).abs() <= 0.01, "{report}");
    assert!((accuracy("w4") - accuracy("f16")).abs() <= 0.04, "{report}");
    let shown = workdir.ok(&["inspect", files[2]]);
    assert!(shown.contains("linear-groups + relu") && shown.contains("w4/64"), "{shown}");
    let layers = workdir.json(&["inspect", files[1]]);
    let first = &layers["layers"][1];
    assert_eq!((&first["groups"]["bits"], &first["groups"]["size"]), (&8.into(), &64.into()));
    let all = workdir.run(&["quantize", "out/student-f32.safetensors", "--to", "w3"]);
    assert!(all.code == 2 && all.stderr.contains("int8, f16, w8, w4"), "{all:?}");
    let other = ["quantize", "out/student-f32.safetensors", "--to", "w4", "--group-size", "16"];
    let other = workdir.run(&other);
    assert!(other.code == 2 && other.stderr.contains("32, 64 or 128"), "{other:?}");
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

/// The small student with hidden units from 1 to 1/3000 as large, and the layer behind them making up
/// for it: the same function in f32, and hopeless for one scale.
fn uneven() -> Workdir {
    let workdir = copy_of_small();
    let bytes = workdir.read("out/student-f32.safetensors");
    let mut file = ModelFile::from_bytes(&bytes, &LoadLimits::default()).unwrap();
    let linear: Vec<_> = file.graph.nodes.iter().filter(|n| n.op == Op::Linear).cloned().collect();
    let units = file.graph.weight(&linear[0], "weight").unwrap().shape()[0];
    let gain = |unit: usize| 3000_f32.powf(-(unit as f32) / (units - 1) as f32);
    let mut scale = |name: String, by: &dyn Fn(usize) -> f32| {
        let tensor = &file.graph.tensors[&name];
        let values: Vec<f32> =
            tensor.f32s().unwrap().iter().enumerate().map(|(i, v)| v * by(i)).collect();
        let made = Tensor::from_f32(tensor.shape().clone(), &values);
        file.graph.tensors.insert(name, made);
    };
    scale(linear[0].tensor_name("weight"), &|i| gain(i / 64));
    scale(linear[0].tensor_name("bias"), &gain);
    scale(linear[1].tensor_name("weight"), &|i| 1.0 / gain(i % units));
    workdir.write("uneven.safetensors", file.to_bytes());
    workdir
}

/// The small student with large weights in each row of both layers that cancel each other: of two
/// pixels that are always black, of two hidden units that are the same. Conversion alone rounds the
/// others away, and one layer in f32 is not enough.
fn spoiled() -> Workdir {
    let workdir = copy_of_small();
    let bytes = workdir.read("out/student-f32.safetensors");
    let mut file = ModelFile::from_bytes(&bytes, &LoadLimits::default()).unwrap();
    let linear: Vec<_> = file.graph.nodes.iter().filter(|n| n.op == Op::Linear).cloned().collect();
    let mut change = |name: String, with: &dyn Fn(&mut [f32])| {
        let tensor = &file.graph.tensors[&name];
        let mut values = tensor.f32s().unwrap().into_owned();
        with(&mut values);
        let made = Tensor::from_f32(tensor.shape().clone(), &values);
        file.graph.tensors.insert(name, made);
    };
    let cancel = |row: &mut [f32], at: [usize; 2]| {
        row[at[0]] += 128.0;
        row[at[1]] -= 128.0;
    };
    change(linear[0].tensor_name("weight"), &|values| {
        values.chunks_mut(64).for_each(|row| cancel(row, [0, 32]));
        values.copy_within(..64, 64);
    });
    change(linear[0].tensor_name("bias"), &|values| values[1] = values[0]);
    change(linear[1].tensor_name("weight"), &|values| {
        let units = values.len() / 10;
        values.chunks_mut(units).for_each(|row| cancel(row, [0, 1]));
    });
    workdir.write("uneven.safetensors", file.to_bytes());
    workdir
}

const LADDER: [&str; 6] =
    ["quantize", "uneven.safetensors", "--data", "small.toml", "--to", "int8"];

#[test]
fn the_ladder_stops_at_the_first_rung_that_is_good_enough() {
    let workdir = uneven();
    let made = workdir.json(&[&LADDER[..], &["--max-drop", "1.5"]].concat());
    let ladder = &made[0]["ladder"];
    let rungs = ladder["rungs"].as_array().unwrap();
    let names: Vec<&str> = rungs.iter().map(|rung| rung["rung"].as_str().unwrap()).collect();
    assert_eq!(names, ["plain", "observers", "equalization"], "{ladder}");
    let drops: Vec<f64> = rungs.iter().map(|rung| number(rung, "drop")).collect();
    assert!(drops[0] > 1.5 && drops[1] > 1.5 && drops[2] <= 1.5, "{drops:?}");
    assert_eq!((&ladder["met"], &ladder["best"]), (&true.into(), &2.into()));
    // 300 samples, of which 100 calibrate and no validation samples are held out.
    assert_eq!((&ladder["held"], &ladder["held_samples"]), (&"training".into(), &200.into()));
    assert_eq!(ladder["calibration_samples"], 100);
    // What was written is the best rung's, to the byte, and answers as the ladder says.
    let bytes = workdir.read("uneven-int8.safetensors").len();
    assert_eq!((&made[0]["bytes"], &rungs[2]["bytes"]), (&bytes.into(), &bytes.into()));
    let file = "uneven-int8.safetensors";
    let validated = workdir.json(&["validate", file, "--data", "small.toml"]);
    let accuracy = number(&validated, "students.int8.accuracy");
    assert!((accuracy - number(ladder, "test.int8")).abs() < 1e-12, "{ladder}");
    let float = workdir.json(&["validate", "uneven.safetensors", "--data", "small.toml"]);
    let float = number(&float, "students.f32.accuracy");
    assert!((number(ladder, "test.drop") - (float - accuracy) * 100.0).abs() < 1e-9);
    // The same command gives the same bytes.
    let before = workdir.read(file);
    let text = workdir.ok(&[&LADDER[..], &["--max-drop", "1.5", "-q"]].concat());
    assert!(workdir.read(file) == before);
    assert!(text.contains("\n* equalization, written: "), "{text}");
    assert!(text.contains("test samples, which chose nothing: f32 "), "{text}");
}

#[test]
fn a_ladder_that_ends_too_low_leaves_the_best_and_fails() {
    let workdir = uneven();
    let output = workdir.run(&[&LADDER[..], &["--max-drop", "0.5", "--time", "0s", "-q"]].concat());
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stdout.contains("the time (--time) is over; it is beyond the 0.5"),
        "{output:?}"
    );
    let plain = workdir.read("uneven-int8.safetensors");
    workdir.ok(&[&LADDER[..], &["-q"]].concat());
    assert!(workdir.read("uneven-int8.safetensors") == plain, "the plain rung is plain int8");
}

#[test]
fn without_labels_the_ladder_counts_other_classes() {
    let workdir = uneven();
    workdir.write("images", crate::util::idx_images(60, 8));
    let data = "[data]\nformat = \"idx\"\ntrain = [\"images\"]\nvalidation = 20\nlabels =                 [\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]\n";
    workdir.write("small.toml", data);
    let made = workdir.json(&[&LADDER[..], &["--max-drop", "100"]].concat());
    let ladder = &made[0]["ladder"];
    assert_eq!((&ladder["held"], &ladder["held_samples"]), (&"validation".into(), &20.into()));
    assert_eq!(ladder["test"], serde_json::Value::Null);
    let plain = &ladder["rungs"][0];
    assert_eq!(plain["accuracy"], serde_json::Value::Null);
    let (drop, agreement) = (number(plain, "drop"), number(plain, "agreement"));
    assert!((drop - (1.0 - agreement) * 100.0).abs() < 1e-9, "{plain}");
}

#[test]
fn a_report_has_a_line_a_layer() {
    let workdir = uneven();
    let args = [&LADDER[..], &["--observer", "auto", "--report"]].concat();
    let made = workdir.json(&args);
    assert_eq!(made[0]["layers"]["samples"], 200);
    let layers = made[0]["layers"]["layers"].as_array().unwrap();
    let int8 = Model::open(workdir.path("uneven-int8.safetensors")).unwrap();
    let hidden = &layers.iter().find(|layer| layer["op"] == "linear").unwrap();
    let node = int8.graph().nodes.iter().find(|node| node.name == hidden["layer"]).unwrap();
    let quant = int8.graph().value(node.output).quant.unwrap();
    let covered = number(hidden, "covered.max");
    assert!((covered / f64::from(quant.dequantize(127)) - 1.0).abs() < 1e-6, "{hidden}");
    assert!(number(hidden, "sqnr_db") > number(layers.last().unwrap(), "sqnr_db"));
    let text = workdir.ok(&[&args[..], &["-q"]].concat());
    for layer in layers {
        let name = layer["layer"].as_str().unwrap();
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    assert!(text.contains("SQNR dB") && text.contains("On 200 samples."), "{text}");
}

#[test]
fn flags_of_the_ladder_that_make_no_sense_are_refused() {
    let refused = |args: &[&str]| {
        let args = [&["quantize", "out/student-f32.safetensors"], args].concat();
        let output = small().run(&args);
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        output.stderr
    };
    assert!(refused(&["--max-drop", "1", "--to", "f16"]).contains("add int8 to --to"));
    assert!(refused(&["--time", "10m"]).contains("--max-drop"));
    for time in ["10", "m", "-3s", "1e300h", "NaNs"] {
        let arg = format!("--time={time}");
        let error = refused(&["--max-drop", "1", &arg]);
        assert!(error.contains("as 90s, 10m or 1h"), "{error}");
    }
    assert!(refused(&["--max-drop", "101"]).contains("percentage points"));
    assert!(refused(&["--held", "0"]).contains("--held"));
}

/// The last rung trains: from the labels, or from a teacher, as long as the time allows.
#[test]
fn the_last_rung_trains_as_int8() {
    const LR: &str = "qat.optimizer={ kind = \"adamw\", lr = 6e-3 }";
    let workdir = spoiled();
    let sets = ["--set", "qat.epochs=200", "--set", LR, "--max-drop", "0", "--qat"];
    let climb = |more: &[&str]| {
        let output = workdir.run(&[&LADDER[..], &sets, more, &["--json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        report[0]["ladder"].clone()
    };
    let last = |ladder: &serde_json::Value| ladder["rungs"].as_array().unwrap().last().cloned();
    let ladder = climb(&["--out", "labels"]);
    let training = last(&ladder).unwrap();
    assert_eq!(training["rung"], "training", "{ladder}");
    assert_eq!(training["note"], "200 of 200 epochs from labels");
    // Conversion alone is hopeless here.
    assert!(number(&ladder["rungs"][0], "accuracy") < 0.5, "{ladder}");
    assert!(number(&training, "accuracy") > 0.9, "{ladder}");
    // What was written is its student: it answers the test samples as the ladder says.
    assert_eq!(ladder["best"], ladder["rungs"].as_array().unwrap().len() - 1, "{ladder}");
    let args = ["validate", "labels/uneven-int8.safetensors", "--data", "small.toml"];
    let accuracy = number(&workdir.json(&args), "students.int8.accuracy");
    assert!((accuracy - number(&ladder, "test.int8")).abs() < 1e-12, "{ladder}");
    assert!(!workdir.path("labels/uneven-int8.ladder").exists());

    let taught = ["--teacher", "out/teacher.safetensors", "--out", "taught"];
    let ladder = climb(&taught);
    assert_eq!(last(&ladder).unwrap()["note"], "200 of 200 epochs from the teacher");

    // Out of time before it: a later try goes on with it.
    let late = ["--out", "late", "--time", "0s"];
    let ladder = climb(&late);
    assert_eq!(ladder["out_of_time"], true);
    let ladder = climb(&["--out", "late", "--resume"]);
    assert_eq!(last(&ladder).unwrap()["rung"], "training");
    let output = workdir.run(&["quantize", "uneven.safetensors", "--qat"]);
    assert!(output.code == 2 && output.stderr.contains("--max-drop"), "{output:?}");
}

#[test]
fn a_ladder_that_was_out_of_time_goes_on_to_the_same_end() {
    let workdir = uneven();
    // A drop that no rung reaches, as half of the layers stay int8: all are climbed.
    let whole = [&LADDER[..], &["--max-drop", "0", "--set", "data.limit=60", "--out", "whole"]];
    let text = |json: &serde_json::Value| {
        let mut ladder = json[0]["ladder"].clone();
        for rung in ladder["rungs"].as_array_mut().unwrap() {
            // Times differ.
            rung["seconds"] = 0.into();
            rung["latency_us"] = 0.into();
        }
        ladder["float"]["latency_us"] = 0.into();
        ladder.to_string()
    };
    let parse = |output: &crate::util::Output| serde_json::from_str(&output.stdout).unwrap();
    let wanted = parse(&workdir.run(&[&whole.concat()[..], &["--json"]].concat()));
    let args = [&LADDER[..], &["--max-drop", "0", "--set", "data.limit=60", "--out", "parts"]];
    let args = [&args.concat()[..], &["--json", "--resume"]].concat();
    let mut tries = 0;
    let found = loop {
        // Each try has time for some of it at most; a later one always ends.
        let time = format!("{}s", 0.001 * f64::from(1 << tries));
        let output = workdir.run(&[&args[..], &["--time", &time]].concat());
        let report: serde_json::Value = parse(&output);
        tries += 1;
        if report[0]["ladder"]["out_of_time"] == false {
            break report;
        }
        let state = "parts/uneven-int8.ladder/state.json";
        let kept = workdir.read(state);
        if tries == 1 {
            let mut damaged: serde_json::Value = serde_json::from_slice(&kept).unwrap();
            damaged["best"][0] = 99.into();
            workdir.write(state, damaged.to_string());
            let error = workdir.run(&[&args[..], &["-q"]].concat());
            assert_eq!(error.code, 2, "{error:?}");
            assert!(error.stderr.contains("names a rung that it does not have"), "{error:?}");
            workdir.write(state, kept);
        }
        assert!(tries < 24, "{output:?}");
    };
    assert!(tries > 1, "the first try had a millisecond");
    assert_eq!(text(&found), text(&wanted));
    assert_eq!(
        workdir.read("parts/uneven-int8.safetensors"),
        workdir.read("whole/uneven-int8.safetensors")
    );
    assert!(!workdir.path("parts/uneven-int8.ladder").exists());
}
