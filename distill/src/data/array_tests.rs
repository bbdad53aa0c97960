//! Arrays as data sets: small files made here, and one by numpy.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use hipflask_runtime::input::{Preprocess, ValuesPreprocess};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};

use super::*;

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn spec(train: &[&str]) -> DataSpec {
    let train = train.iter().map(Into::into).collect();
    DataSpec { format: DataFormat::Npy, train, ..DataSpec::default() }
}

fn open(folder: &Path, spec: &DataSpec) -> crate::Result<DataSet> {
    DataSet::open(spec, &Places { beside: Some(folder.into()), shared: None }, 7)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn bytes_are_images_and_channels_may_be_last() {
    let bytes: Vec<u8> = (0..12).collect();
    let files = [
        ("grey.npy", npy("|u1", "(2, 2, 3)", &bytes)),
        ("colour.npy", npy("|u1", "(1, 2, 2, 3)", &bytes)),
        ("y.npy", npy("<i8", "(2,)", &[[1, 0, 0, 0, 0, 0, 0, 0], [0; 8]].concat())),
    ];
    let folder = folder(&files);
    let set = open(folder.path(), &spec(&["grey.npy", "y.npy"])).unwrap();
    assert_eq!(set.shape().unwrap(), [1, 2, 3]);
    assert_eq!((set.train.labels.clone(), set.classes), (Some(vec![1, 0]), 2));
    assert_eq!(set.train.samples.image(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    let mut spec = DataSpec { labels: vec!["a".into(), "b".into()], ..spec(&["colour.npy"]) };
    assert_eq!(open(folder.path(), &spec).unwrap().shape().unwrap(), [2, 2, 3]);
    spec.array.layout = Some(crate::teacher::Placement::Nhwc);
    let set = open(folder.path(), &spec).unwrap();
    assert_eq!(set.shape().unwrap(), [3, 2, 2]);
    assert_eq!(set.train.samples.image(0).unwrap(), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
}

#[test]
fn values_are_standardised_by_the_training_samples() {
    let values = [1.0, 10.0, 3.0, 10.0, 5.0, 10.0];
    let files = [
        ("x.npy", npy("<f4", "(3, 2)", &floats(&values))),
        ("t.npy", npy("<f4", "(1, 2)", &floats(&[9.0, 11.0]))),
        ("y.npy", npy("|u1", "(3,)", &[0, 1, 0])),
        ("ty.npy", npy("|b1", "(1,)", &[1])),
    ];
    let folder = folder(&files);
    let mut spec = spec(&["x.npy", "y.npy"]);
    spec.test = vec!["t.npy".into(), "ty.npy".into()];
    spec.array.standardise = true;
    let set = open(folder.path(), &spec).unwrap();
    // Of 1, 3 and 5: mean 3, variance 8 / 3. A feature that never changes keeps its scale.
    let std = vec![(8.0_f64 / 3.0).sqrt() as f32, 1.0];
    let expected = ValuesPreprocess { mean: vec![3.0, 10.0], std, channels_last: false };
    assert_eq!(set.preprocess, Preprocess::Values(expected));
    assert_eq!(set.test.labels, Some(vec![1]));
    assert_eq!(set.shape().unwrap(), [2]);
}

#[test]
fn arrays_of_archives_and_safetensors_are_named_behind_a_colon() {
    let x = floats(&[1.0, 2.0, 3.0, 4.0]);
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let tensors =
        [("x", view(Dtype::F32, &[2, 2], &x[..])), ("y", view(Dtype::U8, &[2], &[1, 0][..]))];
    let files = [
        // numpy.savez_compressed and numpy.savez of x = [[1, 2], [3, 4]] in f4, y = [1, 0] in u1.
        ("deflated.npz", include_bytes!("fixtures/deflated.npz").to_vec()),
        ("stored.npz", include_bytes!("fixtures/stored.npz").to_vec()),
        ("set.safetensors", serialize(tensors, None).unwrap()),
    ];
    let folder = folder(&files);
    let prints = files.each_ref().map(|(name, _)| {
        let [x, y] = [format!("{name}:x"), format!("{name}:y")];
        let set = open(folder.path(), &spec(&[&x, &y])).unwrap();
        let Samples::Values { values, .. } = &set.train.samples else { panic!() };
        assert_eq!(*values, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(set.train.labels, Some(vec![1, 0]));
        set.fingerprint
    });
    assert!(prints.iter().all(|print| *print == prints[0]));
    let error = open(folder.path(), &spec(&["stored.npz"])).unwrap_err().to_string();
    assert!(error.contains("holds x, y: write which behind a colon"), "{error}");
    let error = open(folder.path(), &spec(&["stored.npz:z"])).unwrap_err().to_string();
    assert!(error.contains("array \"z\": is not in the file, which holds x, y"), "{error}");
}

#[test]
fn arrays_that_are_no_samples_say_why() {
    let nan = floats(&[1.0, f32::NAN, 3.0]);
    let files = [
        ("x.npy", npy("<f4", "(3, 1)", &nan)),
        ("cut.npy", npy("<f4", "(3, 1)", &nan[..9])),
        ("two.npy", npy("|u1", "(2,)", &[0, 1])),
        ("half.npy", npy("<f4", "(3,)", &floats(&[0.0, 0.5, 1.0]))),
        ("y.npy", npy("|u1", "(3,)", &[0, 1, 0])),
        ("none.npy", npy("|u1", "(0, 4)", &[])),
        ("text.npy", b"a,b\n1,2\n".to_vec()),
    ];
    let folder = folder(&files);
    for (train, words) in [
        (vec!["x.npy", "y.npy"], "sample 1 holds NaN"),
        (vec!["cut.npy", "y.npy"], "takes 12 bytes, there are 9"),
        (vec!["y.npy", "two.npy"], "3 samples need [3] labels"),
        (vec!["y.npy", "half.npy"], "label 1 is 0.5"),
        (vec!["none.npy", "y.npy"], "holds no samples"),
        (vec!["text.npy", "y.npy"], "neither .npy, .npz nor safetensors"),
        (vec!["y.npy:y", "y.npy"], "leave the name out"),
        (vec!["y.npy", "y.npy", "y.npy"], "names 3 arrays"),
    ] {
        let error = open(folder.path(), &spec(&train)).unwrap_err().to_string();
        assert!(error.contains(words), "{error} has no {words:?}");
    }
    let skip = DataSpec { on_error: OnError::Skip, ..spec(&["x.npy", "y.npy"]) };
    let set = open(folder.path(), &skip).unwrap();
    assert_eq!((set.train.len(), set.skipped.len()), (2, 1));
    assert_eq!(set.train.labels, Some(vec![0, 0]));
}
