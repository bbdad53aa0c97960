//! The cache of soft targets: asked once, replayed exactly, rebuilt where it is damaged.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;

use hipflask_runtime::input::Preprocess;

use super::*;
use crate::data::{Augment, DataSpec, Places};
use crate::trainer::Silent;
use crate::{Error, ErrorKind};

/// Answers with the sums of an image's rows, so that every image and view has its own answer.
struct Sums {
    asked: Cell<usize>,
    /// Fails after so many samples.
    limit: Cell<usize>,
    scale: f64,
}

impl Sums {
    fn new() -> Self {
        Self { asked: Cell::new(0), limit: Cell::new(usize::MAX), scale: 1.0 }
    }
}

impl Teacher for Sums {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.asked.set(self.asked.get() + images.dim(0)?);
        if self.asked.get() > self.limit.get() {
            return Err(Error::new(ErrorKind::Teacher, "sums", "died"));
        }
        Ok((images.sum(3)?.flatten_from(1)? * self.scale)?)
    }

    fn classes(&self) -> usize {
        8
    }

    fn name(&self) -> &'static str {
        "sums"
    }

    fn fingerprint(&self) -> String {
        format!("sums times {}", self.scale)
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        None
    }
}

/// Keeps what a user is told.
#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Monitor for Notes {
    fn note(&mut self, text: &str) {
        self.0.borrow_mut().push(text.into());
    }
}

fn digits(augment: &[Augment]) -> DataSet {
    let spec = DataSpec { augment: augment.to_vec(), limit: Some(100), ..DataSpec::default() };
    DataSet::open(&spec, &Places::default(), 7).unwrap()
}

const VIEWS: Views = Views { count: 2, seed: 5, precision: Precision::F32 };

/// The targets of all samples in `epoch` of a run under `seed`, by sample.
fn targets(
    teacher: &Sums,
    data: &DataSet,
    views: Views,
    folder: Option<&Path>,
    (seed, epoch): (u64, usize),
) -> Vec<Vec<f32>> {
    mixed_targets(teacher, data, None, views, folder, (seed, epoch))
}

/// The same of mixed samples.
fn mixed_targets(
    teacher: &Sums,
    data: &DataSet,
    mix: Option<Mix>,
    views: Views,
    folder: Option<&Path>,
    (seed, epoch): (u64, usize),
) -> Vec<Vec<f32>> {
    let random = !data.augment.is_empty() || mix.is_some();
    let view = View::of(epoch, seed, Some(&views), random);
    let mut targets = SoftTargets::new(teacher, data, mix, Some(&views), folder);
    targets.prepare(view, &mut Silent).unwrap();
    let mut by_sample = vec![Vec::new(); data.train.len()];
    let batches = data.training_batches(seed, epoch as u64, 32).unwrap();
    for batch in batches.augmented(&data.augment, view.seed, view.number).mixed(mix) {
        let images = Tensor::from_slice(&batch.values, &batch.shape[..], &Device::Cpu).unwrap();
        let logits = targets.answer(&batch, &images, &Device::Cpu, &[]).unwrap().logits;
        for (index, row) in batch.indices.iter().zip(logits.to_vec2::<f32>().unwrap()) {
            by_sample[*index] = row;
        }
    }
    by_sample
}

#[test]
fn a_teacher_is_asked_once_a_view_whatever_the_seed_and_its_answers_are_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let live = |epoch| targets(&Sums::new(), &data, VIEWS, None, (3, epoch));
    let teacher = Sums::new();
    for (run, asked) in [((3, 0), 100), ((3, 1), 200), ((3, 2), 200), ((4, 5), 200)] {
        let replayed = targets(&teacher, &data, VIEWS, Some(folder.path()), run);
        assert_eq!(teacher.asked.get(), asked, "{run:?}");
        assert_eq!(replayed, live(run.1 % 2), "{run:?}");
    }
    assert_ne!(live(0), live(1));
    // More views keep the first ones; another seed of the views does not.
    let more = Views { count: 3, ..VIEWS };
    targets(&teacher, &data, more, Some(folder.path()), (3, 1));
    assert_eq!(teacher.asked.get(), 200);
    targets(&teacher, &data, Views { seed: 6, ..VIEWS }, Some(folder.path()), (3, 1));
    assert_eq!(teacher.asked.get(), 300);
}

#[test]
fn answers_to_mixed_samples_are_replayed_too_and_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mix = |text: &str| Some(serde_json::from_str::<Mix>(text).unwrap());
    // Also where nothing else changes the images.
    for data in [digits(&[Augment::Crop(1)]), digits(&[])] {
        for mix in [mix(r#"{"kind": "mixup", "alpha": 1}"#), mix(r#"{"kind": "cutmix"}"#)] {
            let of = |teacher: &Sums, folder, run| {
                mixed_targets(teacher, &data, mix, VIEWS, folder, run)
            };
            let live = |epoch| of(&Sums::new(), None, (3, epoch));
            let teacher = Sums::new();
            for (run, asked) in [((3, 0), 100), ((3, 1), 200), ((4, 2), 200)] {
                let replayed = of(&teacher, Some(folder.path()), run);
                assert_eq!(teacher.asked.get(), asked, "{run:?}");
                assert_eq!(replayed, live(run.1 % 2), "{run:?}");
            }
            assert_ne!(live(0), live(1));
            assert_ne!(live(0), targets(&Sums::new(), &data, VIEWS, None, (3, 0)));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn images_that_stay_the_same_have_one_view_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[]);
    let teacher = Sums::new();
    let first = targets(&teacher, &data, VIEWS, Some(folder.path()), (3, 0));
    assert_eq!(targets(&teacher, &data, VIEWS, Some(folder.path()), (4, 1)), first);
    assert_eq!(teacher.asked.get(), 100);
}

#[test]
fn another_teacher_or_augmentation_has_answers_of_its_own_in_the_same_cache() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let first = targets(&Sums::new(), &data, VIEWS, Some(folder.path()), (3, 0));
    let twice = Sums { scale: 2.0, ..Sums::new() };
    let second = targets(&twice, &data, VIEWS, Some(folder.path()), (3, 0));
    assert_eq!(second[9][3].to_bits(), (2.0 * first[9][3]).to_bits());
    let mut moved = data.clone();
    let Preprocess::Image(rule) = &mut moved.preprocess else { unreachable!("images") };
    rule.mean = vec![0.5];
    let third = targets(&Sums::new(), &moved, VIEWS, Some(folder.path()), (3, 0));
    assert_ne!(third, first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn f16_rows_are_the_nearest_halves() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let exact = targets(&Sums::new(), &data, VIEWS, None, (3, 0));
    let half = Views { precision: Precision::F16, ..VIEWS };
    let kept = targets(&Sums::new(), &data, half, Some(folder.path()), (3, 0));
    for (a, b) in exact.concat().iter().zip(kept.concat()) {
        // Eleven bits: half a unit in the last place is at most 2⁻¹¹ of the number.
        assert!((a - b).abs() <= a.abs() / 2048.0, "{a} {b}");
    }
    let huge = Sums { scale: 1e5, ..Sums::new() };
    let mut targets = SoftTargets::new(&huge, &data, None, Some(&half), Some(folder.path()));
    let error = targets.prepare(View { seed: 5, number: 0 }, &mut Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(error.to_string().contains("cache_precision"), "{error}");
}

/// A cache in shards of 30 of the 100 samples, and the files of its first view.
struct Small<'a> {
    cache: Cache,
    data: &'a DataSet,
    rows: PathBuf,
    index: PathBuf,
}

impl<'a> Small<'a> {
    fn new(folder: &Path, data: &'a DataSet) -> Self {
        let key = Key::new("sums", data, &data.preprocess, &VIEWS, 8);
        let cache = Cache::new(folder, key, "sums").with_shards(30);
        let [rows, index] = ["view-0.f32", "view-0.json"].map(|name| cache.folder().join(name));
        Self { cache, data, rows, index }
    }

    fn fill(&self, teacher: &Sums, notes: &mut Notes) -> Result<Vec<f32>> {
        let view = View { seed: 5, number: 0 };
        let ask = |range: Range<usize>, monitor: &mut dyn Monitor| {
            Source { teacher, data: self.data, mix: None }.ask(view, range, monitor)
        };
        let rows = self.cache.view(0, ask, notes)?;
        Ok((0..100).flat_map(|i| rows.row(i)).collect())
    }
}

#[test]
fn a_run_that_died_goes_on_after_its_last_shard() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let small = Small::new(folder.path(), &data);
    let teacher = Sums::new();
    teacher.limit.set(70);
    assert_eq!(small.fill(&teacher, &mut Notes::default()).unwrap_err().kind(), ErrorKind::Teacher);
    // Half of a shard that was being written when the machine stopped.
    let mut bytes = fs::read(&small.rows).unwrap();
    assert_eq!(bytes.len(), 60 * 8 * 4);
    bytes.extend([7; 333]);
    fs::write(&small.rows, bytes).unwrap();
    let (teacher, mut notes) = (Sums::new(), Notes::default());
    let rows = small.fill(&teacher, &mut notes).unwrap();
    assert_eq!(teacher.asked.get(), 40);
    assert_eq!(rows, targets(&Sums::new(), &data, VIEWS, None, (3, 0)).concat());
    assert!(notes.0.borrow().is_empty());
}

#[test]
fn damage_is_told_and_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let small = Small::new(folder.path(), &data);
    let whole = small.fill(&Sums::new(), &mut Notes::default()).unwrap();
    let bytes = fs::read(&small.rows).unwrap();
    let check = |asked: usize, words: &str| {
        let (teacher, mut notes) = (Sums::new(), Notes::default());
        assert!(small.fill(&teacher, &mut notes).unwrap() == whole, "{words}");
        assert_eq!(teacher.asked.get(), asked, "{words}");
        let notes = notes.0.into_inner();
        assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?} has no {words:?}");
        assert!(notes[0].contains("view-0.f32"), "{notes:?}");
    };
    let mut flipped = bytes.clone();
    flipped[45 * 32] ^= 1;
    fs::write(&small.rows, &flipped).unwrap();
    check(70, "are not those that were written; sums is asked again from sample 30 on");
    fs::write(&small.rows, &bytes[..95 * 32]).unwrap();
    check(10, "cut short");
    fs::remove_file(&small.rows).unwrap();
    check(100, "cannot be read");
    fs::write(&small.index, "{").unwrap();
    check(100, "its index is damaged");
}

#[test]
fn answers_to_other_questions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let small = Small::new(folder.path(), &data);
    small.fill(&Sums::new(), &mut Notes::default()).unwrap();
    let text = fs::read_to_string(&small.index).unwrap();
    fs::write(&small.index, text.replace("\"sums\"", "\"products\"")).unwrap();
    let error = small.fill(&Sums::new(), &mut Notes::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("another teacher"), "{error}");
}

#[test]
fn a_teacher_that_answers_nan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[]);
    let teacher = Sums { scale: f64::NAN, ..Sums::new() };
    let mut targets = SoftTargets::new(&teacher, &data, None, Some(&VIEWS), Some(folder.path()));
    let error = targets.prepare(View { seed: 0, number: 0 }, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("answers NaN for training sample 0"), "{error}");
}

#[test]
fn two_runs_at_once_share_one_asking() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(&[Augment::Crop(1)]);
    let asked: Vec<usize> = std::thread::scope(|scope| {
        let run = || {
            let teacher = Sums::new();
            targets(&teacher, &data, VIEWS, Some(folder.path()), (3, 0));
            teacher.asked.get()
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(asked.iter().sum::<usize>(), 100, "{asked:?}");
}
