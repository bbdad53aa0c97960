//! Commands without a process: words in, output and errors out.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use hipflask_runtime::Tensor;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{GraphBuilder, Layout, Op};
use hipflask_runtime::input::Preprocess;

use crate::Flags;

/// What the program prints for `words` with `input` at its standard input, or its error.
pub(crate) fn hipflask_run(words: &[&str], mut input: &[u8]) -> Result<String, String> {
    let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let flags = Flags::take(&mut words).map_err(|error| error.to_string())?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut out = Vec::new();
    let outcome = crate::run(&words, flags, &mut input, &mut out);
    match outcome.map_err(|error| error.to_string())? {
        Some(_) => Ok(String::from_utf8(out).unwrap()),
        None => Err("usage".into()),
    }
}

/// Writes a model of 2×2 images to `path`: class 0 scores the sum of the upper row, class 1 of the
/// lower row, class 2 nothing, class 3, which has no label, minus 1.
pub(crate) fn write_rows_model(path: &Path) {
    let mut b = GraphBuilder::new("rows", Layout::Nhwc);
    let x = b.input("image", [1, 2, 2, 1]);
    let flat = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let (upper, lower, none) = ([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0; 4]);
    let weight = Tensor::from_f32([4, 4], &[upper, lower, none, none].concat());
    let bias = Tensor::from_f32([4], &[0.0, 0.0, 0.0, -1.0]);
    let fc = b.node("fc", Op::Linear, &[flat], [("weight", weight), ("bias", bias)]).unwrap();
    let labels = ["upper", "lower", "none"].map(String::from).to_vec();
    let card = Card { task: "classification".into(), labels, ..Card::default() };
    let graph = b.finish(&[fc]).unwrap();
    let file = ModelFile { graph, preprocess: Some(Preprocess::default()), card };
    std::fs::write(path, file.to_bytes()).unwrap();
}

#[test]
fn unknown_options_and_wrong_numbers_are_named() {
    let error = |words: &[&str]| hipflask_run(words, b"").unwrap_err();
    assert!(error(&["predict", "m", "f", "--jsno"]).starts_with("--jsno: is unknown"));
    assert_eq!(error(&["predict", "m", "f", "--top", "x"]), "--top: \"x\" is no number");
    assert_eq!(error(&["bench", "m", "--threads"]), "--threads: \"\" is no number");
    assert_eq!(error(&["predict", "m"]), "usage");
    assert_eq!(error(&["predict", "m", "a", "b", "--stream"]), "usage");
    assert!(hipflask_run(&["--help"], b"").unwrap().contains("--stream"));
}
