//! `predict` on images whose scores are computed by hand.

use crate::util::{Workdir, rows_model, rows_model_int8};

#[test]
fn images_are_classified_with_their_probabilities() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model());
    workdir.write("upper.pgm", b"P5 2 2 255\n\xff\xff\x00\x00");
    workdir.write("lower.raw", b"\x00\x00\xff\xff");
    let args = ["predict", "rows.safetensors", "upper.pgm", "lower.raw", "--top", "2"];
    // Scores 2, 0, 0: e² / (e² + 2) = 78.70 %, 1 / (e² + 2) = 10.65 %.
    let expected = "\
upper.pgm
   78.70 %    0 upper
   10.65 %    1 lower
lower.raw
   78.70 %    1 lower
   10.65 %    0 upper
";
    assert_eq!(workdir.ok(&args), expected);
    let json = workdir.json(&args);
    let top = &json["predictions"][1]["top"];
    assert_eq!(top.as_array().unwrap().len(), 2);
    assert_eq!((&top[0]["index"], &top[0]["score"]), (&1.into(), &2.0.into()));
}

#[test]
fn an_int8_model_gives_the_same_classes() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model_int8());
    workdir.write("upper.raw", b"\xff\xff\x00\x00");
    let json = workdir.json(&["predict", "rows.safetensors", "upper.raw"]);
    let top = json["predictions"][0]["top"].as_array().unwrap();
    assert_eq!(top.len(), 3);
    assert_eq!(top[0]["label"], "upper");
    // 2 at a scale of 1/50 is 100 steps above the zero point: exact.
    assert_eq!(top[0]["score"], 2.0);
}

#[test]
fn an_image_of_another_size_is_named() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model());
    workdir.write("wide.pgm", b"P5 3 2 255\n123456");
    let output = workdir.run(&["predict", "rows.safetensors", "wide.pgm"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.starts_with("error: wide.pgm: "), "{output:?}");
    assert!(output.stderr.contains("3×2"), "{output:?}");
}
