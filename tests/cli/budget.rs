//! `--size-budget`: the student's width follows from the size that its int8 file may have.

use crate::util::{Workdir, number};

const RECIPE: &str = r#"
name = "budget"

[data]
format = "digits"

[student]
network = "ds-cnn"
size_budget = "12 KiB"

[distill]
epochs = 1
loss = [{ kind = "cross-entropy" }]

[bundle]
targets = []
"#;

#[test]
fn the_int8_file_fits_and_nearly_fills_its_budget() {
    let workdir = Workdir::new();
    workdir.write("budget.toml", RECIPE);
    let shipped = workdir.run(&["ship", "budget.toml", "--out", "out"]);
    assert!(shipped.stderr.contains("student: ds-cnn, width "), "{}", shipped.stderr);
    let int8 = workdir.read("out/student-int8.safetensors").len();
    assert!((10 * 1024..=12 * 1024).contains(&int8), "{int8} bytes");
}

#[test]
fn a_budget_of_parameters_overrides_the_width() {
    let workdir = Workdir::new();
    workdir.write("wide.toml", RECIPE.replace("size_budget = \"12 KiB\"", "width = 4"));
    let args = ["ship", "wide.toml", "--out", "out", "--size-budget", "3000 params"];
    let report = workdir.json(&args);
    // 11 w + 4 (13 w + w²) + 10 w + 10 at a width of 19 is 2841, at 20 it is 3070.
    assert!((number(&report, "students.f32.parameters") - 2841.0).abs() < 0.5, "{report}");
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused() {
    let workdir = Workdir::new();
    workdir.write("budget.toml", RECIPE);
    let refused = workdir.refused(&["distill", "budget.toml", "--size-budget", "1KiB"]);
    let words = "[student]: size_budget: 1 KiB is too small: ds-cnn, width 1 takes";
    assert!(refused.contains(words), "{refused}");
    workdir.write("both.toml", RECIPE.replace("size_budget", "width = 4\nsize_budget"));
    let refused = workdir.refused(&["distill", "both.toml"]);
    assert!(
        refused.contains("both.toml, line 10: [student] has width and size_budget"),
        "{refused}"
    );
    workdir.write("unit.toml", RECIPE.replace("12 KiB", "12"));
    let refused = workdir.refused(&["distill", "unit.toml"]);
    assert!(refused.contains("size_budget in [student]: \"12\" is no size"), "{refused}");
}
