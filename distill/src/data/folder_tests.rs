//! Folders of pictures, archives of them, CIFAR's files, and several sources in one set.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Cursor;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::cifar::Labels;
use super::*;
use crate::Result;

/// A picture of one colour in `format`.
fn picture(format: ImageFormat, [w, h]: [u32; 2], colour: [u8; 3]) -> Vec<u8> {
    encoded(RgbImage::from_pixel(w, h, image::Rgb(colour)), format)
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(colour: [u8; 3]) -> Vec<u8> {
    picture(ImageFormat::Png, [3, 2], colour)
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// Files in a temporary folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn open(&self, spec: &DataSpec) -> Result<DataSet> {
        let places = Places { beside: Some(self.0.path().into()), shared: None };
        DataSet::open(spec, &places, 0)
    }

    fn error(&self, spec: &DataSpec) -> String {
        self.open(spec).unwrap_err().to_string()
    }
}

fn spec(train: &str, test: &str) -> DataSpec {
    let files = |name: &str| if name.is_empty() { vec![] } else { vec![name.into()] };
    DataSpec {
        format: DataFormat::Folder,
        train: files(train),
        test: files(test),
        ..DataSpec::default()
    }
}

/// Two classes of two and one picture to train on, one each to test on.
fn pets() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("pets/train/dog/b.png", png([30, 31, 32])),
        ("pets/train/dog/deep/a.PNG", png([20, 21, 22])),
        ("pets/train/cat/z.png", png([10, 11, 12])),
        ("pets/train/cat/.hidden.png", b"none".to_vec()),
        ("pets/train/README.txt", b"two classes".to_vec()),
        ("pets/test/cat/1.png", png([40, 41, 42])),
        ("pets/test/dog/1.png", png([50, 51, 52])),
    ]
}

#[test]
fn classes_are_folders_in_the_order_of_their_names() {
    let set = Folder::of(&pets()).open(&spec("pets/train", "pets/test")).unwrap();
    assert_eq!((set.class_names.join(" "), set.classes), ("cat dog".into(), 2));
    assert_eq!(set.train.labels, Some(vec![0, 1, 1]));
    assert_eq!(set.shape().unwrap(), [3, 2, 3]);
    let first = |index| set.train.samples.image(index).unwrap()[0];
    assert_eq!([first(0), first(1), first(2)], [10, 30, 20]);
    // Planes: six of each colour.
    let plane = |v: u8| vec![v; 6];
    let cat = [plane(10), plane(11), plane(12)].concat();
    assert_eq!(set.train.samples.image(0), Some(cat.as_slice()));
    assert_eq!(set.test.labels, Some(vec![0, 1]));
    assert!(set.skipped.is_empty());
}

#[test]
fn an_archive_is_the_folder_that_it_holds() {
    let plain = Folder::of(&pets()).open(&spec("pets/train", "pets/test")).unwrap();
    let tar = tar(&pets());
    for (name, bytes) in [("a.tar", tar.clone()), ("a.tar.gz", gzip(&tar)), ("a.tgz", gzip(&tar))] {
        let folder = Folder::of(&[(name, bytes)]);
        let within = |split: &str| format!("{name}/pets/{split}");
        let set = folder.open(&spec(&within("train"), &within("test"))).unwrap();
        assert_eq!((&set.train, &set.test), (&plain.train, &plain.test), "{name}");
        assert_eq!(set.fingerprint, plain.fingerprint);
    }
}

#[test]
fn the_last_file_of_a_name_counts_in_an_archive() {
    let twice = [("c/a.png", png([1, 1, 1])), ("c/b.png", png([2; 3])), ("./c/a.png", png([3; 3]))];
    let set = Folder::of(&[("a.tar", tar(&twice))]).open(&spec("a.tar", "")).unwrap();
    assert_eq!(set.train.len(), 2);
    assert_eq!(set.train.samples.image(0).unwrap()[0], 3);
}

#[test]
fn pictures_outside_of_any_folder_have_no_classes() {
    let folder = Folder::of(&[("all/a.png", png([1; 3])), ("all/b.png", png([2; 3]))]);
    assert!(folder.error(&spec("all", "")).contains("data.labels"));
    let named = DataSpec { labels: vec!["x".into(), "y".into()], ..spec("all", "") };
    let set = folder.open(&named).unwrap();
    assert_eq!((set.train.labels.as_ref(), set.train.len()), (None, 2));
    folder.write("all/c/c.png", &png([3; 3]));
    let error = folder.error(&named);
    assert!(error.contains("a.png: stands beside the folders of the classes"), "{error}");
}

#[test]
fn grey_pictures_have_one_channel_unless_one_of_them_has_colours() {
    let grey = |v: u8| {
        let image = image::GrayImage::from_pixel(2, 1, image::Luma([v]));
        encoded(image, ImageFormat::Png)
    };
    let folder = Folder::of(&[("t/a/1.png", grey(7)), ("t/b/2.png", grey(9))]);
    let shape = |spec: &DataSpec| folder.open(spec).unwrap().shape().unwrap();
    assert_eq!(shape(&spec("t", "")), [1, 1, 2]);
    assert_eq!(shape(&DataSpec { channels: Some(3), ..spec("t", "") }), [3, 1, 2]);
    folder.write("c/a/1.png", &picture(ImageFormat::Png, [2, 1], [255, 0, 100]));
    folder.write("c/b/2.png", &grey(8));
    let error = folder.error(&spec("t", "c"));
    assert!(error.contains("with 1 channel, the test samples images of 2×1 with 3"), "{error}");
    assert!(error.contains("channels = 1 or 3"), "{error}");
    folder.write("t/b/3.png", &picture(ImageFormat::Png, [2, 1], [255, 0, 100]));
    let set = folder.open(&spec("t", "")).unwrap();
    assert_eq!(set.train.samples.image(0), Some([7; 6].as_slice()));
    assert_eq!(set.train.samples.image(2), Some([255, 255, 0, 0, 100, 100].as_slice()));
    // 0.299 · 255 + 0.114 · 100 = 87.6.
    let set = folder.open(&DataSpec { channels: Some(1), ..spec("t", "") }).unwrap();
    assert_eq!(set.train.samples.image(2), Some([88, 88].as_slice()));
    let two = DataSpec { channels: Some(2), ..spec("t", "") };
    assert!(folder.error(&two).contains("data.channels: 2"));
}

#[test]
fn pictures_of_different_sizes_need_a_common_one() {
    let folder = Folder::of(&pets());
    folder.write("pets/train/dog/wide.png", &picture(ImageFormat::Png, [6, 2], [60; 3]));
    let mut spec = spec("pets/train", "pets/test");
    let error = folder.error(&spec);
    assert!(error.contains("dog/wide.png: is 6×2, "), "{error}");
    assert!(error.contains("cat/z.png is 3×2: scale all to one size with data.resize"), "{error}");
    spec.resize = Some([1, 3]);
    let set = folder.open(&spec).unwrap();
    assert_eq!(set.shape().unwrap(), [3, 1, 3]);
    assert_eq!(set.train.samples.image(3), Some([60; 9].as_slice()));
}

#[test]
fn a_jpeg_has_the_colours_that_it_was_made_of() {
    let jpeg = picture(ImageFormat::Jpeg, [16, 8], [200, 100, 50]);
    let folder = Folder::of(&[("t/a/1.jpg", jpeg)]);
    let set = folder.open(&spec("t", "")).unwrap();
    assert_eq!(set.shape().unwrap(), [3, 8, 16]);
    let image = set.train.samples.image(0).unwrap();
    for (plane, wanted) in image.chunks(128).zip([200_u8, 100, 50]) {
        // JPEG rounds.
        assert!(plane.iter().all(|&v| v.abs_diff(wanted) <= 3), "{plane:?}");
    }
}

#[test]
fn damaged_pictures_are_named_and_refused_or_left_out_and_counted() {
    let jpeg = picture(ImageFormat::Jpeg, [32, 32], [9, 99, 199]);
    let bad_png = png([1; 3]);
    for (name, bytes, words) in [
        ("cut.jpg", jpeg[..jpeg.len() - 2].to_vec(), "is a JPEG that is cut short"),
        ("half.jpg", jpeg[..jpeg.len() / 2].to_vec(), "is a JPEG that is cut short"),
        ("head.jpg", jpeg[..4].to_vec(), "is a JPEG that is cut short"),
        ("cut.png", bad_png[..bad_png.len() / 2].to_vec(), "cannot be decoded"),
        ("empty.png", Vec::new(), "is neither JPEG nor PNG"),
        ("text.jpg", b"<html>not found</html>".to_vec(), "is neither JPEG nor PNG"),
        ("new.webp", b"RIFF".to_vec(), "is no kind of picture that is read"),
    ] {
        let folder = Folder::of(&pets());
        folder.write(&format!("pets/train/cat/{name}"), &bytes);
        let mut spec = spec("pets/train", "pets/test");
        let error = folder.error(&spec);
        for words in [words, &format!("pets/train/cat/{name}: "), "on_error = \"skip\""] {
            assert!(error.contains(words), "{error} has no {words:?}");
        }
        spec.on_error = OnError::Skip;
        let set = folder.open(&spec).unwrap();
        assert_eq!((set.train.len(), set.skipped.len()), (3, 1), "{name}");
        assert!(set.skipped[0].contains(name), "{:?}", set.skipped);
    }
}

#[test]
fn a_small_file_that_promises_a_huge_picture_is_refused() {
    // The header of a PNG with 30 000 × 30 000 pixels of three bytes: 2.7 GB.
    let mut bomb = png([0; 3]);
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let error = Folder::of(&[("t/a/1.png", bomb)]).error(&spec("t", ""));
    assert!(error.contains("t/a/1.png: cannot be decoded") && error.contains("limit"), "{error}");
}

#[test]
fn folders_that_differ_between_training_and_test_are_named() {
    let folder = Folder::of(&pets());
    let spec = spec("pets/train", "pets/test");
    folder.write("pets/test/cta/2.png", &png([1; 3]));
    let error = folder.error(&spec);
    assert!(error.starts_with("data.test: has class \"cta\""), "{error}");
    assert!(error.contains("did you mean \"cat\"?"), "{error}");
    let labels = vec!["dog".into(), "cat".into()];
    let error = folder.error(&DataSpec { labels: labels.clone(), ..spec.clone() });
    assert!(error.contains("data.labels") && error.contains("\"cat\""), "{error}");
    let error = folder.error(&DataSpec {
        labels: ["cat", "dog", "cow"].map(String::from).to_vec(),
        ..spec.clone()
    });
    assert!(error.contains("\"cta\""), "{error}");
    std::fs::remove_dir_all(folder.0.path().join("pets/test/cta")).unwrap();
    let three = ["cat", "cow", "dog"].map(String::from).to_vec();
    let error = folder.error(&DataSpec { labels: three, ..spec.clone() });
    assert!(error.starts_with("data.labels: has class \"cow\""), "{error}");
    std::fs::create_dir(folder.0.path().join("pets/train/cow")).unwrap();
    let error = folder.error(&spec);
    assert!(error.contains("pets/train/cow: is a folder without pictures"), "{error}");
    std::fs::remove_dir(folder.0.path().join("pets/train/cow")).unwrap();
    // The recipe's order of classes holds.
    let set = folder.open(&DataSpec { labels, ..spec.clone() }).unwrap();
    assert_eq!(set.train.labels, Some(vec![1, 0, 0]));
    std::fs::remove_dir_all(folder.0.path().join("pets/test/cat")).unwrap();
    let error = folder.error(&spec);
    assert!(error.starts_with("data.train: has class \"cat\""), "{error}");
}

#[test]
fn a_class_of_damaged_pictures_alone_is_refused() {
    let folder = Folder::of(&pets());
    folder.write("pets/train/cat/z.png", b"none");
    let skip = DataSpec { on_error: OnError::Skip, ..spec("pets/train", "pets/test") };
    let error = folder.error(&skip);
    assert!(error.contains("none of the pictures of class \"cat\" can be read"), "{error}");
}

#[test]
fn pictures_decoded_batch_by_batch_are_those_that_are_held() {
    let folder = Folder::of(&pets());
    folder.write("pets/train/dog/wide.png", &picture(ImageFormat::Png, [6, 4], [60, 70, 80]));
    let batch = [record(&[1], 0), record(&[0], 1)].concat();
    folder.write("b.bin", &batch);
    let more = SourceSpec {
        format: DataFormat::Cifar,
        train: vec!["b.bin".into()],
        ..SourceSpec::default()
    };
    let names = ["cat", "dog"].map(String::from).to_vec();
    let spec = DataSpec {
        resize: Some([4, 3]),
        augment: vec![Augment::Crop(1), Augment::Jitter(40)],
        more: vec![more],
        labels: names,
        oversample: true,
        ..spec("pets/train", "pets/test")
    };
    let [held, files] =
        [2048, 0].map(|memory_mib| folder.open(&DataSpec { memory_mib, ..spec.clone() }).unwrap());
    assert!(matches!(held.train.samples, Samples::Images { .. }));
    assert!(matches!(files.train.samples, Samples::Pictures(_)), "{:?}", files.train.samples);
    assert_eq!((held.train.len(), files.train.len()), (8, 8));
    assert_eq!(held.train.labels, files.train.labels);
    assert_eq!(held.train.samples.describe(), files.train.samples.describe());
    for epoch in 0..2 {
        let [a, b] = [&held, &files].map(|set| set.training_batches(5, epoch, 3).unwrap());
        assert!(a.eq(b), "epoch {epoch}");
    }
    let [a, b] = [&held, &files].map(|set| set.batches(&set.test, 2).unwrap());
    assert!(a.eq(b));
    let grey = |memory_mib| {
        let set = folder.open(&DataSpec { memory_mib, channels: Some(1), ..spec.clone() });
        set.unwrap().training_batches(5, 0, 8).unwrap().next()
    };
    assert_eq!(grey(0).unwrap().shape, [8, 1, 4, 3]);
    assert_eq!(grey(0), grey(2048));
}

#[test]
fn what_is_no_archive_of_pictures_says_so() {
    let (whole, text) = (tar(&pets()), [("notes.txt", b"text".to_vec())]);
    for (bytes, words) in [
        (b"no archive at all".repeat(99), "cannot be read as a tar archive"),
        (gzip(b"no archive"), "cannot be read as a tar archive"),
        (whole[..1000].to_vec(), "cannot be read as a tar archive"),
        (gzip(&whole)[..200].to_vec(), "cannot be read as a tar archive"),
        (tar(&text), "holds no .jpg, .jpeg or .png"),
    ] {
        let error = Folder::of(&[("a.tar", bytes)]).error(&spec("a.tar", ""));
        assert!(error.contains("a.tar: ") && error.contains(words), "{error} has no {words:?}");
    }
    let error = Folder::of(&[("a.tar", whole)]).error(&spec("a.tar/nowhere", ""));
    assert!(error.contains("a.tar/nowhere: holds no .jpg"), "{error}");
    let error = Folder::of(&[]).error(&spec("nowhere", ""));
    assert!(error.starts_with("nowhere: not found; looked for "), "{error}");
}

/// One record of CIFAR: labels, then pixels that count up from `from`.
fn record(labels: &[u8], from: u8) -> Vec<u8> {
    let pixels = (0..3072).map(|i| (i as u8).wrapping_add(from));
    labels.iter().copied().chain(pixels).collect()
}

fn cifar(bytes: &[u8], labels: Labels) -> Result<Split> {
    cifar::read(bytes, labels, "batch")
}

#[test]
fn cifar_records_are_labels_and_planes() {
    let ten = [record(&[9], 0), record(&[0], 5)].concat();
    let split = cifar(&ten, Labels::Ten).unwrap();
    assert_eq!((split.len(), split.labels.clone()), (2, Some(vec![9, 0])));
    assert_eq!(split.samples.image(1).unwrap()[..3], [5, 6, 7]);
    assert_eq!(cifar(&gzip(&ten), Labels::Ten).unwrap(), split);
    let hundred = record(&[19, 99], 1);
    assert_eq!(cifar(&hundred, Labels::Coarse).unwrap().labels, Some(vec![19]));
    assert_eq!(cifar(&hundred, Labels::Fine).unwrap().labels, Some(vec![99]));
    for (bytes, labels, words) in [
        (&ten[..5000], Labels::Ten, "no whole records of 3073"),
        (&ten, Labels::Fine, "no whole records of 3074"),
        (&[], Labels::Ten, "no whole records"),
        (&record(&[10], 0), Labels::Ten, "record 0 is of class 10, there are 10"),
        (&record(&[20, 0], 0), Labels::Coarse, "record 0 is of class 20"),
        (&gzip(&ten)[..100], Labels::Ten, "cannot be read"),
    ] {
        let error = cifar(bytes, labels).unwrap_err().to_string();
        assert!(error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn several_sources_follow_one_another() {
    let square = |v: u8| picture(ImageFormat::Png, [32, 32], [v; 3]);
    let names = ["cat", "dog"].map(String::from).to_vec();
    let batch = [record(&[1], 0), record(&[0], 1), record(&[1], 2)].concat();
    let folder = Folder::of(&[("s/t/cat/1.png", square(7)), ("s/b.bin", batch)]);
    let more = SourceSpec {
        format: DataFormat::Cifar,
        train: vec!["b.bin".into()],
        test: vec!["b.bin".into()],
        skip: 1,
        ..SourceSpec::default()
    };
    let spec = DataSpec {
        root: Some("s".into()),
        more: vec![more.clone()],
        labels: names,
        ..spec("t", "")
    };
    let set = folder.open(&spec).unwrap();
    assert_eq!(set.train.labels, Some(vec![0, 0, 1]));
    assert_eq!(set.test.labels, Some(vec![1, 0, 1]));
    let first = |index| set.train.samples.image(index).unwrap()[0];
    assert_eq!([first(0), first(1), first(2)], [7, 1, 2]);

    let error = folder.error(&DataSpec { labels: Vec::new(), ..spec.clone() });
    assert!(error.contains("some files name classes, others number them"), "{error}");
    let all = SourceSpec { skip: 3, ..more };
    let error = folder.error(&DataSpec { more: vec![all], ..spec.clone() });
    assert!(error.contains("data.skip: leaves out 3 samples of 3"), "{error}");
    folder.write("s/t/cat/1.png", &picture(ImageFormat::Png, [16, 16], [7; 3]));
    let error = folder.error(&spec);
    assert!(error.contains("images of 16×16 with 3 channels and images of 32×32"), "{error}");
    assert!(error.contains("resize = [h, w]"), "{error}");
}

#[test]
fn cifar10_of_two_sources_holds_each_picture_once() {
    let Some(shared) = std::env::var_os("HIPFLASK_DATA") else {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: cifar10_of_two_sources_holds_each_picture_once: no HIPFLASK_DATA");
        }
        return;
    };
    let places = Places { beside: None, shared: Some(Path::new(&shared).into()) };
    let text = std::fs::read_to_string("../examples/cifar10-resnet8.toml").unwrap();
    let names = text.lines().find(|line| line.starts_with("labels = ")).unwrap();
    let labels: Vec<String> = serde_json::from_str(names.split_once('=').unwrap().1).unwrap();
    let more = SourceSpec {
        format: DataFormat::Cifar,
        train: vec!["train-3805.bin.gz".into()],
        skip: 761,
        ..SourceSpec::default()
    };
    let within = |split: &str| format!("cifar10-jpeg-10k-2k.tar.gz/{split}");
    let jpeg = DataSpec {
        root: Some("cifar10-subset".into()),
        labels,
        ..spec(&within("train"), &within("test"))
    };
    let set = DataSet::open(&DataSpec { more: vec![more], ..jpeg.clone() }, &places, 0).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.classes), (13_044, 2000, 10));
    let lossless = DataSpec {
        format: DataFormat::Cifar,
        train: vec!["train-3805.bin.gz".into()],
        test: vec!["test-761.bin.gz".into()],
        ..jpeg
    };
    let lossless = DataSet::open(&lossless, &places, 0).unwrap();
    assert_eq!((lossless.train.len(), lossless.test.len()), (3805, 761));
    // The set's README: the JPEG pictures differ from the originals by a median of 30.5 dB, a mean
    // square of 58. Here: of the first of its class, train/frog/00000.jpg, and of the first record.
    let frog = set.train.labels.as_ref().unwrap().iter().position(|&label| label == 6).unwrap();
    assert_eq!(lossless.train.labels.as_ref().unwrap()[0], 6);
    let [a, b] = [(&set, frog), (&lossless, 0)].map(|(set, i)| set.train.samples.image(i).unwrap());
    let squares = a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
    let mean = squares.sum::<f64>() / a.len() as f64;
    assert!(mean < 250.0, "{mean}");
}
