//! From raw samples to inputs, by hand.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use hipflask_runtime::input::{
    Column, ColumnRule, ImagePreprocess, Preprocess, TablePreprocess, ValuesPreprocess,
};

use super::*;

fn numbers(name: &str, numbers: &[f32]) -> RowsColumn {
    RowsColumn { name: name.into(), fields: Fields::Numbers(numbers.to_vec()) }
}

fn texts(name: &str, values: &[&str], codes: &[u32]) -> RowsColumn {
    let values = values.iter().map(ToString::to_string).collect();
    RowsColumn { name: name.into(), fields: Fields::Texts { values, codes: codes.to_vec() } }
}

fn table(columns: Vec<(&str, ColumnRule)>) -> Preprocess {
    let columns = columns.into_iter().map(|(name, rule)| Column { name: name.into(), rule });
    Preprocess::Table(TablePreprocess { columns: columns.collect(), ..TablePreprocess::default() })
}

fn converted(samples: &Samples, preprocess: &Preprocess) -> (Vec<usize>, Vec<f32>) {
    let conversion = Conversion::new(samples, preprocess).unwrap();
    (conversion.shape().to_vec(), conversion.all(samples))
}

fn error(samples: &Samples, preprocess: &Preprocess) -> String {
    Conversion::new(samples, preprocess).err().unwrap().to_string()
}

#[test]
fn values_are_standardised_by_channel() {
    let values: Vec<f32> = (0..8).map(|v| v as f32).collect();
    let samples = Samples::Values { shape: vec![2, 1, 2], values };
    let rule = ValuesPreprocess {
        mean: vec![1.0, 0.0],
        std: vec![0.5, 2.0],
        ..ValuesPreprocess::default()
    };
    let expected = vec![-2.0, 0.0, 1.0, 1.5, 6.0, 8.0, 3.0, 3.5];
    assert_eq!(converted(&samples, &Preprocess::Values(rule)), (vec![2, 1, 2], expected));
}

#[test]
fn rows_become_features_column_by_column() {
    let rows = Rows::new(vec![
        texts("colour", &["red", "blue"], &[0, 1, 0]),
        numbers("unused", &[9.0; 3]),
        numbers("age", &[3.0, f32::NAN, 5.0]),
        texts("dose", &["2", "?"], &[0, 1, 0]),
    ]);
    let rule = table(vec![
        ("age", ColumnRule::Number { mean: 4.0, std: 2.0 }),
        ("colour", ColumnRule::OneHot { values: vec!["green".into(), "red".into()] }),
        ("dose", ColumnRule::Number { mean: 0.0, std: 1.0 }),
    ]);
    let samples = Samples::Rows(rows);
    let expected = [
        [-0.5, 0.0, 1.0, 2.0],
        // Missing, unknown, missing.
        [0.0, 0.0, 0.0, 0.0],
        [0.5, 0.0, 1.0, 2.0],
    ];
    assert_eq!(converted(&samples, &rule), (vec![4], expected.concat()));
    // The same for rows that were picked from them.
    assert_eq!(converted(&samples.select(&[2, 1]), &rule).1, [expected[2], expected[1]].concat());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let rows =
        Samples::Rows(Rows::new(vec![numbers("age", &[1.0]), texts("colour", &["red"], &[0])]));
    let number = ColumnRule::Number { mean: 0.0, std: 1.0 };
    let hot = ColumnRule::OneHot { values: vec!["1".into()] };
    for (rule, words) in [
        (table(vec![("height", number.clone())]), "column \"height\", the data have none"),
        (table(vec![("age", hot)]), "column \"age\" holds numbers"),
        (table(vec![("colour", number)]), "column \"colour\": \"red\" is no number"),
        (Preprocess::default(), "the data are rows of 2 columns, the preprocessing is for images"),
    ] {
        let error = error(&rows, &rule);
        assert!(error.contains(words), "{error} has no {words:?}");
    }
    let images = Samples::Images { shape: [3, 1, 1], pixels: vec![0; 3] };
    let two = ImagePreprocess { mean: vec![0.0; 2], ..ImagePreprocess::default() };
    assert!(error(&images, &Preprocess::Image(two)).contains("2 numbers for 3 channels"));
}
