//! `inspect` on hand-made models.

use crate::runs::copy_of_small;
use crate::util::{Workdir, rows_model, rows_model_int8, snapshot};

fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("f32.safetensors", rows_model());
    workdir.write("int8.safetensors", rows_model_int8());
    workdir
}

#[test]
fn a_model_is_shown_layer_by_layer() {
    snapshot("inspect-int8", &workdir().ok(&["inspect", "int8.safetensors"]));
}

#[test]
fn two_models_are_shown_side_by_side() {
    let shown = workdir().ok(&["inspect", "f32.safetensors", "int8.safetensors"]);
    snapshot("inspect-pair", &shown);
}

#[test]
fn dot_has_a_box_a_layer() {
    snapshot("inspect-dot", &workdir().ok(&["inspect", "int8.safetensors", "--dot"]));
}

#[test]
fn json_has_the_hand_computed_sizes() {
    let workdir = workdir();
    let model = workdir.json(&["inspect", "f32.safetensors"]);
    let file = std::fs::metadata(workdir.path("f32.safetensors")).unwrap().len();
    assert_eq!(model["file_bytes"], file);
    // 3 classes of 4 pixels: 12 weights and 3 biases of 4 bytes.
    assert_eq!(model["parameters"], 15);
    assert_eq!(model["macs"], 12);
    assert_eq!(model["weight_bytes"], 60);
    assert_eq!(model["layers"][1]["name"], "fc");
    assert_eq!(model["layers"][1]["shape"], serde_json::json!([1, 3]));
    assert_eq!(model["card"]["labels"][0], "upper");
    let both = workdir.json(&["inspect", "f32.safetensors", "int8.safetensors"]);
    // 12 bytes of weights, then bias, scale and multiplier of 3 · 4 bytes each.
    assert_eq!(both[1]["weight_bytes"], 48);
    assert_eq!(both[1]["layers"][2]["zero_point"], -28);
}

#[test]
fn two_models_are_compared_layer_by_layer_on_samples_of_a_recipe() {
    let workdir = copy_of_small();
    let student = "out/student-f32.safetensors";
    let to =
        ["--to", "int8", "--report", "--calibrate", "100", "--out", "made", "--data", "small.toml"];
    let made = workdir.json(&[&["quantize", student], &to[..]].concat());
    let int8 = "made/student-int8.safetensors";
    let args = ["inspect", student, int8, "--data", "small.toml"];
    let both = workdir.json(&args);
    // The same samples as those of quantize --report, so the same figures.
    let (reported, shown) = (&made[0]["layers"], &both[1]["quantization"]);
    assert_eq!(shown["samples"], reported["samples"]);
    let of = |report: &serde_json::Value, key: &str| -> Vec<serde_json::Value> {
        report["layers"].as_array().unwrap().iter().map(|layer| layer[key].clone()).collect()
    };
    assert!(of(shown, "sqnr_db").iter().any(serde_json::Value::is_f64), "{shown}");
    for key in ["layer", "range", "covered", "clipped", "sqnr_db"] {
        assert_eq!(of(shown, key), of(reported, key), "{key}");
    }
    assert!(both[0]["quantization"].is_null());
    let text = workdir.ok(&args);
    assert!(text.contains("What B does to the layers of A:") && text.contains("SQNR dB"), "{text}");
    // Without samples there is nothing of that; with the student second, or alone, neither.
    assert!(workdir.json(&args[..3])[1]["quantization"].is_null());
    let swapped = workdir.refused(&["inspect", int8, student, "--data", "small.toml"]);
    assert!(swapped.contains("give the f32 student first"), "{swapped}");
    assert_eq!(workdir.run(&["inspect", student, "--data", "small.toml"]).code, 2);
}
