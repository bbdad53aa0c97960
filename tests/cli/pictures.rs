//! Folders and archives of pictures, made of the built-in digits.

use std::io::Cursor;

use hipflask_distill::data::{DataSet, DataSpec, Places, Split};
use image::{GrayImage, ImageFormat};

use crate::runs::SMALL;
use crate::util::{Workdir, number};

/// Digit `index` of `split` as a picture.
fn encoded(split: &Split, index: usize, format: ImageFormat) -> Vec<u8> {
    let pixels = split.samples.image(index).unwrap().to_vec();
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_vec(8, 8, pixels).unwrap().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// 300 training and 100 test pictures by name, as `train/seven/12.png`.
fn pictures() -> Vec<(String, Vec<u8>)> {
    const NAMES: [&str; 10] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let set = DataSet::open(&DataSpec::default(), &Places::default(), 0).unwrap();
    let parts = [("train", &set.train, 300), ("test", &set.test, 100)];
    let each = parts.into_iter().flat_map(|(part, split, count)| {
        (0..count).map(move |index| {
            let class = NAMES[split.labels.as_ref().unwrap()[index] as usize];
            let name = format!("{part}/{class}/{index}.png");
            (name, encoded(split, index, ImageFormat::Png))
        })
    });
    each.collect()
}

/// The pictures as the archive `digits.tar`, and a recipe that reads it.
fn with_archive(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Workdir {
    let workdir = Workdir::new();
    let mut files = pictures();
    change(&mut files);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    workdir.write("digits.tar", archive.into_inner().unwrap());
    let data = "format = \"folder\"\ntrain = [\"digits.tar/train\"]\ntest = [\"digits.tar/test\"]";
    workdir.write("pictures.toml", SMALL.replace("limit = 300", data));
    workdir
}

#[test]
fn pictures_in_an_archive_train_a_student() {
    let workdir = with_archive(|_| ());
    workdir.ok(&["ship", "pictures.toml", "--out", "out", "-q"]);
    let report = serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    assert_eq!((number(&report, "data.train"), number(&report, "data.test")), (300.0, 100.0));
    assert_eq!(report["data"]["classes"][1], "five");
    assert_eq!(report["data"]["skipped"], 0);
    // The built-in digits' own, of other test samples; a network that guesses has 0.1.
    assert!(number(&report, "students.f32.accuracy") > 0.75, "{report}");
}

#[test]
fn damaged_pictures_are_left_out_and_counted_by_option() {
    let workdir = with_archive(|files| {
        let half = files[0].1.len() / 2;
        files[0].1.truncate(half);
        files[350].1 = b"no picture".to_vec();
    });
    let distill = ["distill", "pictures.toml", "--out", "out"];
    let error = workdir.refused(&distill);
    assert!(error.contains("digits.tar/train/") && error.contains("cannot be decoded"), "{error}");
    assert!(error.contains("on_error = \"skip\""), "{error}");
    let sets = [
        "--set",
        "data.on_error=skip",
        "--set",
        "data.validation=50",
        "--set",
        "data.stratify=true",
        "--set",
        "data.oversample=true",
        "--set",
        "data.memory_mib=0",
        "--set",
        "data.augment=[\"crop:1\", \"erase:25\", \"jitter:20\", \"rand-augment:1:5\"]",
    ];
    let output = workdir.run(&[&["ship", "pictures.toml", "--out", "out"][..], &sets].concat());
    assert_eq!(output.code, 0, "{output:?}");
    let warning = "warning: 2 damaged files or samples left out (data.on_error), as ";
    assert!(output.stderr.contains(warning), "{output:?}");
    let report = serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    assert_eq!((number(&report, "data.skipped"), number(&report, "data.test")), (2.0, 99.0));
    // 249 and what makes the classes equal.
    let train = number(&report, "data.train");
    assert!(train >= 249.0 && train % 10.0 == 0.0, "{train}");
    assert!(number(&report, "students.f32.accuracy") > 0.4, "{report}");
}

#[test]
fn a_mislabeled_folder_is_named() {
    let workdir = with_archive(|files| {
        for (name, _) in files.iter_mut().filter(|(name, _)| name.starts_with("test/")) {
            *name = name.replace("/seven/", "/sevne/");
        }
    });
    let error = workdir.refused(&["distill", "pictures.toml", "--out", "out"]);
    assert!(error.starts_with("error: data.test: has class \"sevne\""), "{error}");
    assert!(error.contains("did you mean \"seven\"?"), "{error}");
}
