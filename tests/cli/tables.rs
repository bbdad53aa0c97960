//! A table from its raw rows to the board: teacher, student, int8, and the same bits on both.

use std::process::Command;

use crate::util::{Workdir, number, run};

const RECIPE: &str = include_str!("../../examples/tabular.toml");

/// Points of a plane, whether they lie within a circle whose radius is the unit's: neither numbers nor
/// the category alone tell. Some fields are missing.
fn rings(count: usize) -> String {
    let mut rows = String::from("id,x,unit,y,inside\n");
    let mut state = 1_u32;
    let mut next = || {
        // Numerical Recipes' generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    for id in 0..count {
        let (x, y, unit) = (next() * 8.0 - 4.0, next() * 8.0 - 4.0, next());
        let (unit, radius) = if unit < 0.5 { ("short", 2.0) } else { ("\"long, wide\"", 4.0) };
        let inside = if x.hypot(y) < radius { "yes" } else { "no" };
        let x = if id % 50 == 7 { "NA".into() } else { format!("{x:.3}") };
        rows.push_str(&format!("{id},{x},{unit},{:.2},{inside}\n", y * 100.0 + 300.0));
    }
    rows
}

#[test]
fn a_table_becomes_an_int8_student_that_reads_raw_rows_on_the_board() {
    let workdir = Workdir::new();
    workdir.write("rings.csv", rings(1600));
    workdir.write("rings.toml", RECIPE);
    workdir.ok(&["ship", "rings.toml", "--out", "out", "-q"]);
    let report = serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    // Without the unit, 71 % is the best that is possible.
    assert!(number(&report, "teacher.accuracy") > 0.9, "{report}");
    assert!(number(&report, "students.f32.accuracy") > 0.85, "{report}");
    assert!(number(&report, "students.int8.accuracy") > 0.85, "{report}");

    let again = ["validate", "out/student-int8.safetensors", "--data", "rings.toml"];
    let again = workdir.json(&[&again[..], &["--teacher", "out/teacher.safetensors"]].concat());
    assert_eq!(again["students"]["int8"]["accuracy"], report["students"]["int8"]["accuracy"]);
    workdir.ok(&["quantize", "out/student-f32.safetensors", "--data", "rings.toml", "--out", "q"]);
    assert!(workdir.read("q/student-int8.safetensors").len() > 100);

    // Raw rows: other columns and order, no class, a unit that was never seen, a missing number.
    workdir.write("raw.csv", "unit,y,x\nshort,300,0.5\n\"long, wide\",500,3\nmiles,300,\n");
    let model = "out/student-int8.safetensors";
    let desk = workdir.json(&["predict", model, "raw.csv", "--top", "2"]);
    let desk = desk["predictions"].as_array().unwrap();
    assert_eq!(desk.len(), 3);
    assert_eq!((&desk[0]["at"], &desk[0]["top"][0]["label"]), (&2.into(), &"yes".into()));
    let mut board = Command::new(workdir.path("out/bundle/hipflask-run"));
    board.args(["predict", "out/bundle/model.safetensors", "raw.csv", "--json"]);
    let board = run(board.current_dir(workdir.path("")).env_remove("HIPFLASK_ISA"));
    assert_eq!(board.code, 0, "{board:?}");
    for (desk, board) in desk.iter().zip(board.stdout.lines()) {
        let board: serde_json::Value = serde_json::from_str(board).unwrap();
        assert_eq!(board["at"], desk["at"]);
        for (ours, theirs) in
            desk["top"].as_array().unwrap().iter().zip(board["top"].as_array().unwrap())
        {
            let [a, b] = [ours, theirs].map(|class| class["score"].as_f64().unwrap() as f32);
            assert_eq!((&ours["label"], a.to_bits()), (&theirs["label"], b.to_bits()));
        }
    }
}

#[test]
fn a_ragged_table_is_refused_with_file_and_line_or_skipped_with_a_count() {
    let workdir = Workdir::new();
    let broken = rings(400).replace("\n200,", "\n200,too,many,").replace("\n300,", "\n300,one,");
    workdir.write("rings.csv", broken);
    workdir.write("rings.toml", RECIPE);
    let args = ["distill", "rings.toml", "--out", "out", "--set", "distill.epochs=1"];
    let error = workdir.refused(&[&args[..], &["--set", "teacher.epochs=1"]].concat());
    assert!(error.contains("rings.csv: line 202: has 7 fields, there are 5 titles"), "{error}");
    assert!(error.contains("on_error = \"skip\""), "{error}");
    let skip = [
        "--set",
        "data.on_error=skip",
        "--set",
        "teacher.expect_accuracy=0",
        "--set",
        "teacher.epochs=1",
    ];
    let output = workdir.run(&[&args[..], &skip].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("warning: 2 damaged files or samples left out"), "{output:?}");
}
