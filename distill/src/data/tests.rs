//! Data sets as a whole: the built-in digits, IDX files and what is wrong with them, batches.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::float_cmp, reason = "preprocessing is a fixed order of f32 operations")]

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::{Error, ErrorKind};

/// The bytes of one image.
fn pixels(split: &Split, index: usize) -> &[u8] {
    split.samples.image(index).unwrap()
}

fn digits(spec: &DataSpec) -> DataSet {
    DataSet::open(spec, &Places::default(), 42).unwrap()
}

/// An IDX file of bytes.
fn idx_bytes(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    for d in dims {
        file.extend(d.to_be_bytes());
    }
    file.extend(data);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_split(images: &[u8], labels: Option<&[u8]>) -> crate::Result<Split> {
    let images = idx::read(images, "images")?;
    idx::split(images, labels.map(|l| idx::read(l, "labels")).transpose()?)
}

fn error_of(images: &[u8], labels: Option<&[u8]>) -> String {
    read_split(images, labels).unwrap_err().to_string()
}

/// A folder with a set of four 2×3 images, and its specification.
fn small_set() -> (tempfile::TempDir, DataSpec) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("small");
    std::fs::create_dir(&root).unwrap();
    let pixels: Vec<u8> = (0..24).collect();
    std::fs::write(root.join("images"), idx_bytes(&[4, 2, 3], &pixels)).unwrap();
    std::fs::write(root.join("labels.gz"), gzip(&idx_bytes(&[4], &[0, 2, 1, 0]))).unwrap();
    let spec = DataSpec {
        format: DataFormat::Idx,
        root: Some("small".into()),
        train: vec!["images".into(), "labels.gz".into()],
        ..DataSpec::default()
    };
    (folder, spec)
}

fn beside(folder: &Path) -> Places {
    Places { beside: Some(folder.into()), shared: None }
}

#[test]
fn the_built_in_digits_are_the_published_ones() {
    let set = digits(&DataSpec::default());
    assert_eq!((set.train.len(), set.test.len(), set.classes), (1437, 360, 10));
    assert_eq!(set.shape().unwrap(), [1, 8, 8]);
    assert_eq!(set.class_names[9], "9");
    // The bytes of the files themselves, read with xxd.
    assert_eq!(set.train.labels.as_ref().unwrap()[..6], [0, 1, 2, 3, 4, 5]);
    assert_eq!(set.test.labels.as_ref().unwrap()[..6], [1, 4, 8, 6, 5, 9]);
    assert_eq!(pixels(&set.train, 0)[..8], [0, 0, 0x4b, 0xc3, 0x87, 0x0f, 0, 0]);
    let file = include_bytes!("../../data/digits/digits-train-images-idx3-ubyte");
    assert_eq!(
        crate::fingerprint::sha256(file),
        "689f46d5efd0e429134cecfd1b369151a68c2fbd719390ed735cacc0b2a821c2"
    );
}

#[test]
fn validation_is_disjoint_reproducible_and_complete() {
    let spec = DataSpec { validation: 200, ..DataSpec::default() };
    let (whole, set) = (digits(&DataSpec::default()), digits(&spec));
    let held = set.validation.as_ref().unwrap();
    assert_eq!((set.train.len(), held.len(), set.test.len()), (1237, 200, 360));
    let sorted = |splits: &[&Split]| {
        let each = splits.iter().flat_map(|s| {
            let labels = s.labels.as_ref().unwrap();
            labels.iter().enumerate().map(|(i, &l)| (pixels(s, i).to_vec(), l))
        });
        let mut samples: Vec<(Vec<u8>, u32)> = each.collect();
        samples.sort();
        samples
    };
    // As multisets, so every sample is in exactly one of the two.
    assert_eq!(sorted(&[&set.train, held]), sorted(&[&whole.train]));
    assert_eq!(digits(&spec).fingerprint, set.fingerprint);
    let other = DataSet::open(&spec, &Places::default(), 43).unwrap();
    assert_ne!(other.validation.as_ref(), Some(held));
    assert_ne!(other.fingerprint, set.fingerprint);
}

#[test]
fn limit_takes_samples_that_validation_left() {
    let held = digits(&DataSpec { validation: 100, ..DataSpec::default() });
    let both = digits(&DataSpec { validation: 100, limit: Some(50), ..DataSpec::default() });
    assert_eq!(both.validation, held.validation);
    assert_eq!(both.train.len(), 50);
    let all: Vec<&[u8]> = (0..held.train.len()).map(|i| pixels(&held.train, i)).collect();
    assert!((0..50).all(|i| all.contains(&pixels(&both.train, i))));
}

#[test]
fn resizing_the_digits_changes_shape_and_fingerprint() {
    let set = digits(&DataSpec { resize: Some([4, 6]), ..DataSpec::default() });
    assert_eq!(set.shape().unwrap(), [1, 4, 6]);
    assert_eq!((set.train.len(), set.test.len()), (1437, 360));
    assert_ne!(set.fingerprint, digits(&DataSpec::default()).fingerprint);
}

#[test]
fn bad_numbers_are_refused_with_the_key() {
    let error =
        |spec: &DataSpec| DataSet::open(spec, &Places::default(), 0).unwrap_err().to_string();
    let base = DataSpec::default;
    for (spec, words) in [
        (DataSpec { validation: 1437, ..base() }, "data.validation: 1437 samples"),
        (DataSpec { limit: Some(0), ..base() }, "data.limit"),
        (DataSpec { resize: Some([0, 8]), ..base() }, "data.resize"),
        (DataSpec { resize: Some([8, 5000]), ..base() }, "from 1 to 4096"),
        (DataSpec { std: vec![0.0], ..base() }, "std above 0"),
        (DataSpec { mean: vec![0.0; 3], ..base() }, "3 numbers for 1 channels"),
        (DataSpec { labels: vec!["zero".into()], ..base() }, "name 10 classes"),
        (DataSpec { root: Some("x".into()), ..base() }, "built in"),
        (DataSpec { format: DataFormat::Idx, ..base() }, "names no files"),
    ] {
        let error = error(&spec);
        assert!(error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn idx_files_are_found_beside_the_recipe_then_in_the_shared_folder() {
    let (folder, spec) = small_set();
    let nowhere = PathBuf::from("/nonexistent");
    let shared = Places { beside: Some(nowhere.clone()), shared: Some(folder.path().into()) };
    for places in [beside(folder.path()), shared] {
        let set = DataSet::open(&spec, &places, 0).unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.classes), (4, 0, 3));
        assert_eq!(*pixels(&set.train, 1), [6, 7, 8, 9, 10, 11]);
        assert_eq!(set.train.labels, Some(vec![0, 2, 1, 0]));
    }
    let places = Places { beside: Some("/recipes".into()), shared: Some(nowhere) };
    let error = DataSet::open(&spec, &places, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    let text = error.to_string();
    assert!(text.contains("/recipes/small/images, then /nonexistent/small/images"), "{text}");
    let error = DataSet::open(&spec, &beside(Path::new("/recipes")), 0).unwrap_err().to_string();
    assert!(error.contains("HIPFLASK_DATA"), "{error}");
}

#[test]
fn a_data_set_is_called_by_its_folders() {
    let spec = |root: &str, train: &str, test: &str| DataSpec {
        format: DataFormat::Idx,
        root: (!root.is_empty()).then(|| root.into()),
        train: vec![train.into()],
        test: vec![test.into()],
        ..DataSpec::default()
    };
    assert_eq!(DataSpec::default().name(), "digits");
    assert_eq!(spec("data/mnist", "a.gz", "b.gz").name(), "mnist");
    assert_eq!(spec("", "fashion/a.gz", "mnist/b.gz").name(), "fashion, tested on mnist");
    assert_eq!(spec("", "train.gz", "train.gz").name(), "train");
}

#[test]
fn unlabelled_data_needs_class_names() {
    let (folder, mut spec) = small_set();
    spec.train.truncate(1);
    let error = DataSet::open(&spec, &beside(folder.path()), 0).unwrap_err().to_string();
    assert!(error.contains("data.labels"), "{error}");
    spec.labels = vec!["a".into(), "b".into()];
    let set = DataSet::open(&spec, &beside(folder.path()), 0).unwrap();
    assert_eq!((set.train.labels.clone(), set.classes), (None, 2));
    let batch = set.batches(&set.train, 3).unwrap().next().unwrap();
    assert_eq!((batch.labels, batch.indices), (None, vec![0, 1, 2]));
}

#[test]
fn broken_idx_files_say_what_and_what_to_do() {
    let good = idx_bytes(&[2, 2, 2], &[7; 8]);
    assert_eq!(read_split(&good, None).unwrap(), read_split(&gzip(&good), None).unwrap());
    let cut = error_of(&good[..good.len() - 3], None);
    assert_eq!(
        cut,
        "images: the header promises 2 images of 2×2 (8 bytes), the file holds 5: it is cut \
         short; download it again"
    );
    assert_eq!(cut, error_of(&gzip(&good[..good.len() - 3]), None));
    let zipped = gzip(&good);
    assert!(error_of(&zipped[..zipped.len() - 10], None).contains("download it again"));
    let labels = |n: u32| idx_bytes(&[n], &vec![1; n as usize]);
    for (images, labels, words) in [
        (good[..9].to_vec(), None, "ends within its header"),
        (Vec::new(), None, "ends within its header"),
        (idx_bytes(&[2, 2, 2], &[7; 9]), None, "holds more"),
        (b"\x89PNG and so on".to_vec(), None, "no IDX file"),
        (vec![0, 0, 9, 3, 0, 0, 0, 0], None, "type 0x09"),
        (vec![0, 0, 8, 9, 0, 0, 0, 0], None, "9 dimensions"),
        (idx_bytes(&[u32::MAX; 4], &[]), None, "the file is damaged"),
        (idx_bytes(&[0, 28, 28], &[]), None, "no images"),
        (idx_bytes(&[5, 0, 28], &[]), None, "no images"),
        (labels(2), None, "holds labels where images"),
        (good.clone(), Some(labels(3)), "labels: has 3 labels, images has 2 images"),
        (good.clone(), Some(labels(0)), "labels: has 0 labels"),
        (good.clone(), Some(good.clone()), "holds images where labels"),
    ] {
        let error = error_of(&images, labels.as_deref());
        assert!(error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn a_header_that_lies_allocates_nothing() {
    // 2 GiB promised by 16 bytes: read in a moment, refused because they are not there.
    let error = error_of(&idx_bytes(&[1 << 11, 1 << 10, 1 << 10], &[]), None);
    assert!(error.contains("the file holds 0"), "{error}");
}

#[test]
fn recipes_refuse_unknown_formats_augmentations_and_keys() {
    let parse = |text: &str| serde_json::from_str::<DataSpec>(text).map_err(|e| e.to_string());
    let format = parse(r#"{"format": "tfrecord"}"#).unwrap_err();
    assert!(format.contains("`digits`, `idx`"), "{format}");
    let augment = parse(r#"{"augment": ["crop:2", "blur"]}"#).unwrap_err();
    assert!(augment.contains("blur") && augment.contains("crop:N"), "{augment}");
    assert!(parse(r#"{"roots": "x"}"#).unwrap_err().contains("roots"));
    let text =
        r#"{"format": "idx", "train": ["a", "b"], "augment": ["crop:2", "flip"], "std": [0.5]}"#;
    let spec = parse(text).unwrap();
    assert_eq!(spec.augment, [Augment::Crop(2), Augment::Flip]);
    assert_eq!(parse(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
}

#[test]
fn the_order_is_a_function_of_seed_and_epoch() {
    assert_eq!(shuffled(8, 42, 0), shuffled(8, 42, 0));
    assert_ne!(shuffled(100, 42, 0), shuffled(100, 42, 1));
    assert_ne!(shuffled(100, 42, 0), shuffled(100, 43, 0));
    // Computed by an implementation of the same steps in Python. A resumed run, and every later
    // version, must go on with the same order.
    assert_eq!(shuffled(8, 42, 0), [5, 0, 7, 4, 3, 2, 1, 6]);
}

#[test]
fn batches_hold_every_sample_once_and_the_last_is_smaller() {
    let set = digits(&DataSpec { mean: vec![0.5], std: vec![0.25], ..DataSpec::default() });
    let batches = set.training_batches(1, 0, 100).unwrap();
    assert_eq!(batches.len(), 15);
    let batches: Vec<Batch> = batches.collect();
    assert_eq!(batches[14].shape, [37, 1, 8, 8]);
    let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(seen, shuffled(1437, 1, 0));
    seen.sort_unstable();
    assert_eq!(seen, (0..1437).collect::<Vec<_>>());
    let (batch, labels) = (&batches[3], set.train.labels.as_ref().unwrap());
    for (row, &index) in batch.indices.iter().enumerate() {
        assert_eq!(batch.labels.as_ref().unwrap()[row], labels[index]);
        let byte = pixels(&set.train, index)[20];
        assert_eq!(batch.values[row * 64 + 20], (f32::from(byte) / 255.0 - 0.5) / 0.25);
    }
}

#[test]
fn starting_later_gives_the_batches_that_are_left() {
    let set = digits(&DataSpec { augment: vec![Augment::Crop(1)], ..DataSpec::default() });
    let all: Vec<Batch> = set.training_batches(1, 2, 64).unwrap().collect();
    let rest: Vec<Batch> = set.training_batches(1, 2, 64).unwrap().starting_at(20).collect();
    assert_eq!(rest, all[20..]);
    assert_eq!(set.training_batches(1, 2, 64).unwrap().starting_at(99).count(), 0);
}

#[test]
fn a_mixture_is_two_augmented_samples_whatever_the_batch_and_the_preprocessing() {
    let spec = DataSpec { augment: vec![Augment::Crop(1)], ..DataSpec::default() };
    let data = digits(&DataSpec { limit: Some(60), ..spec });
    let mix = serde_json::from_str(r#"{"kind": "mixup", "alpha": 1}"#).unwrap();
    let of = |size, mix| -> Vec<Batch> {
        data.training_batches(5, 1, size).unwrap().mixed(mix).collect()
    };
    let rows = |batches: &[Batch]| -> Vec<(usize, Vec<f32>)> {
        let row = |b: &Batch| {
            b.indices
                .iter()
                .copied()
                .zip(b.values.chunks(64).map(<[f32]>::to_vec))
                .collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = batches.iter().flat_map(row).collect();
        rows.sort_by_key(|(index, _)| *index);
        rows
    };
    let (mixtures, alone) = (of(60, Some(mix)), rows(&of(60, None)));
    let all = rows(&mixtures);
    assert_eq!(all, rows(&of(7, Some(mix))));
    let batch = &mixtures[0];
    let mixed = batch.mixed.as_ref().unwrap();
    let labels = (batch.labels.as_ref().unwrap(), mixed.labels.as_ref().unwrap());
    for (i, (&index, blend)) in batch.indices.iter().zip(&mixed.blends).enumerate() {
        let pairs = alone[index].1.iter().zip(&alone[blend.partner].1);
        let expected: Vec<f32> =
            pairs.map(|(x, y)| blend.share * x + (1.0 - blend.share) * y).collect();
        assert_eq!(all[index].1, expected);
        let all = data.train.labels.as_ref().unwrap();
        assert_eq!((labels.0[i], labels.1[i]), (all[index], all[blend.partner]));
    }
    // Standardisation is linear: with twice the deviation a mixture is half as far from the mean.
    let Preprocess::Image(rule) = &data.preprocess else { unreachable!("images") };
    let double = Preprocess::Image(hipflask_runtime::input::ImagePreprocess {
        mean: vec![0.0],
        std: vec![rule.std[0] * 2.0],
        range: rule.range,
    });
    let (shape, values) = batch.preprocessed(&double).unwrap();
    assert_eq!(shape, batch.shape);
    let shift = rule.mean[0] / rule.std[0];
    for (double, own) in values.iter().zip(&batch.values) {
        assert!((2.0 * double - (own + shift)).abs() < 1e-5, "{double} {own}");
    }
}

#[test]
fn augmentation_does_not_depend_on_the_batch() {
    let set =
        digits(&DataSpec { augment: vec![Augment::Crop(2), Augment::Flip], ..DataSpec::default() });
    let image_of = |batches: Batches<'_>, sample: usize| {
        let mut found = batches.flat_map(|b| {
            let images: Vec<Vec<f32>> = b.values.chunks(64).map(<[f32]>::to_vec).collect();
            b.indices.into_iter().zip(images).collect::<Vec<_>>()
        });
        found.find(|(index, _)| *index == sample).unwrap().1
    };
    for sample in [0, 700, 1436] {
        let shuffled = image_of(set.training_batches(5, 1, 32).unwrap(), sample);
        let ordered = Batches::new(&set.train, &set.preprocess, 7).unwrap();
        assert_eq!(shuffled, image_of(ordered.augmented(&set.augment, 5, 1), sample));
    }
    let epochs: Vec<Vec<f32>> =
        (0..8).map(|epoch| image_of(set.training_batches(5, epoch, 64).unwrap(), 3)).collect();
    assert!(epochs.iter().any(|image| *image != epochs[0]), "no epoch changed the image");
    let plain = set.batches(&set.train, 1).unwrap().next().unwrap();
    assert_eq!(plain.values[2], f32::from(0x4b_u8) / 255.0);
}

/// The folder of real data sets; tests on them are skipped by name without it.
fn shared_data(test: &str) -> Option<Places> {
    let folder = std::env::var_os("HIPFLASK_DATA");
    if folder.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: {test}: HIPFLASK_DATA is not set");
        }
    }
    Some(Places { beside: None, shared: Some(folder?.into()) })
}

#[test]
fn mnist_and_fashion_mnist_load() -> Result<(), Error> {
    let Some(places) = shared_data("mnist_and_fashion_mnist_load") else { return Ok(()) };
    // First labels: MNIST's 5 0 4 1 9 are in every tutorial; Fashion-MNIST's 9 0 0 3 0 in its README's
    // example output.
    for (root, first) in [("mnist", [5, 0, 4, 1, 9]), ("fashion-mnist", [9, 0, 0, 3, 0])] {
        let file = |name: &str| PathBuf::from(format!("{name}-ubyte.gz"));
        let spec = DataSpec {
            format: DataFormat::Idx,
            root: Some(root.into()),
            train: vec![file("train-images-idx3"), file("train-labels-idx1")],
            test: vec![file("t10k-images-idx3"), file("t10k-labels-idx1")],
            ..DataSpec::default()
        };
        let set = DataSet::open(&spec, &places, 0)?;
        assert_eq!((set.train.len(), set.test.len(), set.classes), (60_000, 10_000, 10));
        assert_eq!(set.shape().unwrap(), [1, 28, 28]);
        assert_eq!(set.train.labels.as_ref().unwrap()[..5], first);
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        start in prop::sample::select(vec![&[][..], &[0, 0, 8, 3, 0, 0, 0], &[0x1f, 0x8b, 8, 0]]),
    ) {
        let file = [start, &bytes].concat();
        if let Ok(split) = read_split(&file, Some(&file)) {
            let Samples::Images { shape, pixels } = &split.samples else { panic!("no images") };
            prop_assert_eq!(split.len() * shape.iter().product::<usize>(), pixels.len());
        }
    }

    #[test]
    fn what_was_written_is_read(n in 1_u32..9, h in 1_u32..9, w in 1_u32..9, zipped: bool) {
        let pixels: Vec<u8> = (0..n * h * w).map(|i| i as u8).collect();
        let file = idx_bytes(&[n, h, w], &pixels);
        let file = if zipped { gzip(&file) } else { file };
        let split = read_split(&file, None).unwrap();
        let shape = [1, h as usize, w as usize];
        prop_assert_eq!(split.samples, Samples::Images { shape, pixels });
    }
}
