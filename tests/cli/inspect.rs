//! `inspect` on hand-made models.

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
