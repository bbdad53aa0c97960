//! `predict` on images and rows whose scores are computed by hand.

use crate::util::{Workdir, rows_model, rows_model_int8, table_model};

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

#[test]
fn rows_of_a_table_are_classified_one_by_one() {
    let workdir = Workdir::new();
    workdir.write("table.safetensors", table_model());
    workdir.write("rows.csv", "id,colour,age\n1,green,50\n2, blue ,?\n");
    // Scores 2, -2, then 0, 4: 1 / (1 + e⁻⁴) = 98.20 %.
    let expected = "\
rows.csv:2
   98.20 %    0 old
    1.80 %    1 young
rows.csv:3
   98.20 %    1 young
    1.80 %    0 old
";
    assert_eq!(workdir.ok(&["predict", "table.safetensors", "rows.csv"]), expected);
    let json = workdir.json(&["predict", "table.safetensors", "rows.csv"]);
    assert_eq!(json["predictions"][1]["at"], 3);
    assert_eq!(json["predictions"][1]["top"][0]["score"], 4.0);
}

#[test]
fn rows_that_do_not_fit_are_named_by_file_line_and_column() {
    let workdir = Workdir::new();
    workdir.write("table.safetensors", table_model());
    for (file, words) in [
        ("age,colour\n1,red\n2\n", "rows.csv: line 3: has 1 fields, the titles are 2"),
        ("age,colour\nten,red\n", "rows.csv: line 2: column \"age\": \"ten\" is no number"),
        ("age,color\n1,red\n", "rows.csv: line 1: column \"colour\", which the model reads"),
        ("", "rows.csv: has no header"),
        ("age,colour\n\"1,red\n", "rows.csv: line 2: opens a quote"),
    ] {
        workdir.write("rows.csv", file);
        let error = workdir.run(&["predict", "table.safetensors", "rows.csv", "--json"]);
        assert_eq!((error.code, error.stdout.as_str()), (2, ""), "{error:?}");
        assert!(error.stderr.contains(words), "{error:?} has no {words:?}");
    }
}
