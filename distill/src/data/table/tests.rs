//! Tables as data sets, by hand.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::path::Path;

use hipflask_runtime::input::{ColumnRule, Missing, Preprocess, TablePreprocess};

use super::*;
use crate::data::{DataSet, Fields};

const ROWS: &str = "\
id,age,colour,size,class
1,30,red,S,yes
2,50, blue ,L,no
3,NA,red,M,yes
4,70,\"red\",L,no
";

fn spec() -> DataSpec {
    let ordinal = [("size".to_string(), ["S", "M", "L"].map(String::from).to_vec())];
    DataSpec {
        format: DataFormat::Csv,
        train: vec!["rows.csv".into()],
        table: TableSpec {
            target: Some("class".into()),
            ignore: vec!["id".into()],
            ordinal: ordinal.into(),
            ..TableSpec::default()
        },
        ..DataSpec::default()
    }
}

/// A folder with the files `name, text`.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn open_in(folder: &Path, spec: &DataSpec) -> Result<DataSet> {
    DataSet::open(spec, &Places { beside: Some(folder.into()), shared: None }, 7)
}

fn open(spec: &DataSpec, text: &str) -> Result<DataSet> {
    open_in(folder(&[("rows.csv", text)]).path(), spec)
}

fn error(spec: &DataSpec, text: &str) -> String {
    open(spec, text).unwrap_err().to_string()
}

fn table(set: &DataSet) -> &TablePreprocess {
    let Preprocess::Table(table) = &set.preprocess else { panic!("{:?}", set.preprocess) };
    table
}

fn rule<'a>(set: &'a DataSet, name: &str) -> &'a ColumnRule {
    &table(set).columns.iter().find(|column| column.name == name).unwrap().rule
}

fn features(set: &DataSet, split: &Split) -> Vec<f32> {
    set.batches(split, 100).unwrap().next().unwrap().values
}

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn columns_are_standardised_counted_and_named_by_the_training_rows() {
    let set = open(&spec(), ROWS).unwrap();
    assert_eq!(set.class_names, ["no", "yes"]);
    assert_eq!(set.train.labels, Some(vec![1, 0, 1, 0]));
    // Of 30, 50 and 70: mean 50, variance 800 / 3.
    let std = (800.0_f64 / 3.0).sqrt() as f32;
    assert_eq!(*rule(&set, "age"), ColumnRule::Number { mean: 50.0, std });
    assert_eq!(*rule(&set, "colour"), ColumnRule::OneHot { values: list(&["blue", "red"]) });
    let ordinal =
        ColumnRule::Ordinal { values: list(&["S", "M", "L"]), mean: 1.25, std: 0.6875_f32.sqrt() };
    assert_eq!(*rule(&set, "size"), ordinal);
    assert_eq!(set.shape().unwrap(), [4]);
    let (low, size) = (-20.0 / std, |i: f32| (i - 1.25) / 0.6875_f32.sqrt());
    let expected = [
        [low, 0.0, 1.0, size(0.0)],
        [0.0, 1.0, 0.0, size(2.0)],
        [0.0, 0.0, 1.0, size(1.0)],
        [-low, 0.0, 1.0, size(2.0)],
    ];
    assert_eq!(features(&set, &set.train), expected.concat());
}

#[test]
fn the_board_makes_the_same_features_of_the_raw_rows() {
    let set = open(&spec(), ROWS).unwrap();
    // Other columns, in another order, without the class.
    let raw = b"size,colour,age\nS,red,30\nL,blue,50\nM,red,\nL,red,70\n";
    let rows = table(&set).rows(raw).unwrap();
    let rows: Vec<f32> = rows.flat_map(|row| row.unwrap().features).collect();
    assert_eq!(rows, features(&set, &set.train));
}

#[test]
fn statistics_are_of_the_training_part_alone() {
    let row = |i: usize| format!("{i},{},{}", ["a", "b", "c", "d"][i % 4], ["no", "yes"][i % 2]);
    let rows: Vec<String> = (0..40).map(row).collect();
    let text = format!("x,letter,class\n{}", rows.join("\n"));
    let spec = DataSpec {
        validation: 10,
        test_fraction: Some(0.25),
        table: TableSpec { target: Some("class".into()), ..TableSpec::default() },
        ..spec()
    };
    let set = open(&spec, &text).unwrap();
    let held = set.validation.as_ref().unwrap();
    assert_eq!((set.train.len(), held.len(), set.test.len()), (20, 10, 10));
    // A quarter of each class.
    let yes = set.test.labels.as_ref().unwrap().iter().filter(|&&label| label == 1).count();
    assert_eq!(yes, 5);
    let xs = |split: &Split| -> Vec<f32> {
        let Samples::Rows(rows) = &split.samples else { panic!() };
        let Fields::Numbers(numbers) = &rows.columns()[0].fields else { panic!() };
        numbers.clone()
    };
    let train = xs(&set.train);
    let mean = train.iter().sum::<f32>() / 20.0;
    let ColumnRule::Number { mean: found, .. } = *rule(&set, "x") else { panic!() };
    // Sums of 20 whole numbers below 40 are exact; the division is rounded once.
    assert!((found - mean).abs() < 1e-6, "{found} {mean}");
    let mut all = [train, xs(held), xs(&set.test)].concat();
    all.sort_by(f32::total_cmp);
    assert_eq!(all, (0..40).map(|i| i as f32).collect::<Vec<_>>());
    // The same rows under the same seed.
    assert_eq!(open(&spec, &text).unwrap().fingerprint, set.fingerprint);
}

#[test]
fn test_rows_follow_the_training_rows_whatever_the_order_of_their_columns() {
    let test = "class,size,colour,age,id\nno,M,green,90,9\nyes,S,red,30,8\n";
    let folder = folder(&[("rows.csv", ROWS), ("test.csv", test)]);
    let spec = DataSpec { test: vec!["test.csv".into()], ..spec() };
    let set = open_in(folder.path(), &spec).unwrap();
    assert_eq!(set.test.labels, Some(vec![0, 1]));
    let found = features(&set, &set.test);
    // Green was not seen in training.
    assert_eq!(found[1..3], [0.0, 0.0]);
    assert_eq!(found[4..], features(&set, &set.train)[..4]);

    std::fs::write(folder.path().join("test.csv"), "id,age,colour,size,class\n1,1,red,S,maybe\n")
        .unwrap();
    let error = open_in(folder.path(), &spec).unwrap_err().to_string();
    assert!(error.contains("class \"maybe\""), "{error}");
}

#[test]
fn a_missing_category_that_was_seen_is_one_of_its_own() {
    let set = open(&spec(), &ROWS.replace(" blue ", "?")).unwrap();
    assert_eq!(*rule(&set, "colour"), ColumnRule::OneHot { values: list(&["", "red"]) });
    let mut spec = spec();
    spec.table.missing = Missing::Error;
    let error = error(&spec, ROWS);
    assert!(error.contains("line 4: column \"age\": the value is missing"), "{error}");
}

#[test]
fn bad_rows_are_refused_by_line_or_skipped_and_counted() {
    let skip = DataSpec { on_error: crate::data::OnError::Skip, ..spec() };
    for (row, words) in [
        ("5,1,red,S\n", "line 6: has 4 fields, there are 5 titles"),
        ("5,old,red,S,yes\n", "line 6: column \"age\": \"old\" is no number"),
        ("5,1,red,XL,yes\n", "line 6: column \"size\": \"XL\" is not among S, M, L"),
        ("5,1,red,S,\n", "line 6: the class is missing"),
        ("5,1,\"red\"dish,S,no\n", "line 6: has text after a closing quote"),
        ("5,1e99,red,S,no\n", "line 6: column \"age\": \"1e99\" is beyond"),
    ] {
        let text = format!("{ROWS}{row}6,90,blue,L,no\n");
        let error = error(&spec(), &text);
        assert!(error.contains(words) && error.contains("rows.csv"), "{error} has no {words:?}");
        let set = open(&skip, &text).unwrap();
        assert_eq!((set.train.len(), set.skipped.len()), (5, 1), "{row}");
        assert!(set.skipped[0].contains(words), "{:?}", set.skipped);
    }
}

#[test]
fn what_the_recipe_says_of_columns_must_be_so() {
    let with = |change: &dyn Fn(&mut TableSpec)| {
        let mut spec = spec();
        change(&mut spec.table);
        spec
    };
    for (spec, words) in [
        (with(&|t| t.target = Some("clas".into())), "data.table.target: "),
        (with(&|t| t.target = Some("clas".into())), "did you mean \"class\"?"),
        (with(&|t| t.categorical = vec!["id".into()]), "data.table.ignore names too"),
        (with(&|t| t.delimiter = Some('"')), "data.table.delimiter"),
        (with(&|t| t.ignore = list(&["id", "age", "colour"])), ""),
        (with(&|t| t.ignore = list(&["id", "age", "colour", "sise"])), "did you mean \"size\"?"),
        (DataSpec { labels: list(&["no", "never"]), ..spec() }, "line 2: class \"yes\" is none of"),
        (DataSpec { mean: vec![1.0], ..spec() }, "range, mean and std: not for tables"),
        (DataSpec { test_fraction: Some(1.0), ..spec() }, "data.test_fraction"),
    ] {
        match open(&spec, ROWS) {
            Ok(set) => assert_eq!((words, set.shape().unwrap()), ("", vec![1])),
            Err(error) => assert!(error.to_string().contains(words), "{error} has no {words:?}"),
        }
    }
    assert!(error(&spec(), "a,b,a\n1,2,3\n").contains("two columns are called \"a\""));
    assert!(error(&spec(), "id,age,colour,size,class\n").contains("has no rows"));
    assert!(error(&spec(), "").contains("is empty"));
    assert!(
        error(&spec(), &ROWS.replace("red", "").replace("blue", ""))
            .contains("column \"colour\" holds nothing")
    );
}

#[test]
fn files_without_titles_other_separators_gzip_and_numbered_classes_are_read() {
    let spec = DataSpec {
        format: DataFormat::Tsv,
        train: vec!["a.tsv.gz".into(), "b.tsv".into()],
        table: TableSpec {
            target: Some("1".into()),
            categorical: vec!["2".into()],
            header: false,
            ..TableSpec::default()
        },
        ..DataSpec::default()
    };
    let folder = folder(&[("b.tsv", "3\t20\t-1\n")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"0\t10\t1\n1\t20\t3").unwrap();
    std::fs::write(folder.path().join("a.tsv.gz"), gzip.finish().unwrap()).unwrap();
    let set = open_in(folder.path(), &spec).unwrap();
    // Whole numbers are the classes themselves: 2 is one that does not occur.
    assert_eq!((set.classes, set.train.labels.clone()), (4, Some(vec![0, 1, 3])));
    assert_eq!(*rule(&set, "2"), ColumnRule::OneHot { values: list(&["10", "20"]) });
    assert_eq!(
        table(&set).rows(b"0\t20\t1").unwrap().next().unwrap().unwrap().features[..2],
        [0.0, 1.0]
    );
    // By name first, then by place.
    let named = DataSpec { labels: list(&["1", "3", "x", "0"]), ..spec };
    assert_eq!(open_in(folder.path(), &named).unwrap().train.labels, Some(vec![3, 0, 1]));
}

#[test]
fn rows_of_several_sources_follow_each_other() {
    let more = "id,age,colour,size,class\n9,10,green,S,no\n";
    let folder = folder(&[("rows.csv", ROWS), ("more.csv", more)]);
    let source = crate::data::SourceSpec {
        format: DataFormat::Csv,
        train: vec!["more.csv".into()],
        ..Default::default()
    };
    let set = open_in(folder.path(), &DataSpec { more: vec![source], ..spec() }).unwrap();
    assert_eq!(set.train.labels, Some(vec![1, 0, 1, 0, 0]));
    assert_eq!(
        *rule(&set, "colour"),
        ColumnRule::OneHot { values: list(&["blue", "green", "red"]) }
    );
    assert_eq!(features(&set, &set.train)[20..25][1..4], [0.0, 1.0, 0.0]);
}

#[test]
fn repeated_rows_do_not_change_the_statistics() {
    let rows = "x,class\n1,a\n3,a\n5,a\n7,b\n";
    let of = |oversample| {
        let table = TableSpec { target: Some("class".into()), ..TableSpec::default() };
        open(&DataSpec { oversample, table, ..spec() }, rows).unwrap()
    };
    let (plain, equal) = (of(false), of(true));
    assert_eq!((plain.train.len(), equal.train.len()), (4, 6));
    assert_eq!(table(&equal), table(&plain));
}
