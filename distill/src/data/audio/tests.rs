#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::float_cmp, reason = "the same operations give the same bits")]

use std::io::Write;
use std::path::Path;

use hipflask_runtime::input::Preprocess;
use hipflask_runtime::input::audio::{Align, AudioFrontEnd, Extractor};

use super::*;
use crate::data::{Augment, Batches, Conversion, DataFormat, DataSet, DataSpec, OnError, Places};
use crate::data::{Samples, Split};
use crate::random::Stream;

const RATE: u32 = 1000;

/// A mono WAV file of 16 bits.
fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let data = samples.len() as u32 * 2;
    let mut file = [&b"RIFF"[..], &(36 + data).to_le_bytes(), b"WAVEfmt \x10\0\0\0"].concat();
    file.extend([1, 0, 1, 0]);
    file.extend(rate.to_le_bytes().into_iter().chain((2 * rate).to_le_bytes()));
    file.extend([2, 0, 16, 0]);
    file.extend([&b"data"[..], &data.to_le_bytes()].concat());
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    file
}

/// A square wave.
fn square(n: usize, period: usize, height: i16) -> Vec<i16> {
    (0..n).map(|i| if i % period < period / 2 { height } else { -height }).collect()
}

fn audio() -> AudioSpec {
    AudioSpec {
        rate: RATE,
        seconds: 0.2,
        window_ms: 32.0,
        hop_ms: 16.0,
        bands: 6,
        low_hz: 0.0,
        ..AudioSpec::default()
    }
}

fn front_end() -> AudioFrontEnd {
    audio().front_end().unwrap()
}

/// Writes `files` below a new folder.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn open(folder: &Path, spec: &DataSpec) -> crate::Result<DataSet> {
    let places = Places { beside: Some(folder.into()), shared: None };
    DataSet::open(spec, &places, 1)
}

fn spec() -> DataSpec {
    DataSpec {
        format: DataFormat::Wav,
        train: vec!["train".into()],
        audio: Some(audio()),
        ..DataSpec::default()
    }
}

fn two_classes() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train/low/a.wav", wav(RATE, &square(150, 20, 9000))),
        ("train/low/b.WAV", wav(RATE, &square(250, 22, 9000))),
        ("train/high/c.wav", wav(RATE, &square(200, 4, 9000))),
        ("train/README.md", b"no sound".to_vec()),
    ]
}

fn waves(split: &Split) -> &Waves {
    let Samples::Waves(waves) = &split.samples else { panic!("sounds") };
    waves
}

fn features(clip: &Clip, front_end: &AudioFrontEnd) -> Vec<f32> {
    let mut features = vec![f32::NAN; front_end.shape().iter().product()];
    clip.features(&mut Extractor::new(front_end).unwrap(), &mut features);
    features
}

/// `change` on `clip`, the same for the same `number`.
fn changed(change: &str, clip: &Clip, number: u64) -> Clip {
    let mut clip = clip.clone();
    let change = Augment::try_from(change.to_string()).unwrap();
    change.apply_to_sound(&mut clip, &front_end(), &mut Stream::new(1, "test", &[number]));
    clip
}

#[test]
fn classes_are_the_folders_and_inputs_are_the_front_ends() {
    let folder = folder(&two_classes());
    let data = open(folder.path(), &spec()).unwrap();
    assert_eq!(data.class_names, ["high", "low"]);
    assert_eq!(data.train.labels, Some(vec![0, 1, 1]));
    // (200 - 32) / 16 + 1 frames of six bands.
    assert_eq!(data.shape().unwrap(), [1, 11, 6]);
    let Preprocess::Audio(front_end) = &data.preprocess else { panic!("sounds") };
    let batch = data.batches(&data.train, 2).unwrap().next().unwrap();
    assert_eq!(batch.shape, [2, 1, 11, 6]);
    let by_hand: Vec<f32> = [(200, 4), (150, 20)]
        .into_iter()
        .flat_map(|(n, period)| front_end.features(&wav(RATE, &square(n, period, 9000))).unwrap())
        .collect();
    assert_eq!(batch.values, by_hand);
}

#[test]
fn features_of_the_training_samples_have_mean_0_and_deviation_1() {
    let folder = folder(&two_classes());
    let data = open(folder.path(), &spec()).unwrap();
    let values = Conversion::new(&data.train.samples, &data.preprocess).unwrap();
    let values = values.all(&data.train.samples);
    for band in 0..6 {
        let of_band = || values.iter().skip(band).step_by(6).map(|&v| f64::from(v));
        let n = of_band().count() as f64;
        let mean = of_band().sum::<f64>() / n;
        let variance = of_band().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{band}: {mean}, {variance}");
    }
    // What the recipe says counts.
    let own = AudioSpec { mean: Some(vec![-3.0]), std: Some(vec![2.0]), ..audio() };
    let data = open(folder.path(), &DataSpec { audio: Some(own), ..spec() }).unwrap();
    let Preprocess::Audio(AudioFrontEnd { mean, std, .. }) = &data.preprocess else { panic!() };
    assert_eq!((mean.as_slice(), std.as_slice()), (&[-3.0][..], &[2.0][..]));
}

#[test]
fn classes_may_stand_in_the_names_and_files_in_an_archive() {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, period) in [("7_ann_0.wav", 4), ("7_bob_0.wav", 5), ("3_ann_1.wav", 9)] {
        let bytes = wav(RATE, &square(100, period, 5000));
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, format!("train/{name}"), bytes.as_slice()).unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive.into_inner().unwrap()).unwrap();
    let folder = folder(&[("digits.tar.gz", gzip.finish().unwrap())]);
    let mut spec = DataSpec {
        train: vec!["digits.tar.gz/train".into()],
        audio: Some(AudioSpec { label_from: LabelFrom::Name, ..audio() }),
        ..spec()
    };
    let data = open(folder.path(), &spec).unwrap();
    assert_eq!(data.class_names, ["3", "7"]);
    assert_eq!(data.train.labels, Some(vec![0, 1, 1]));
    spec.audio.as_mut().unwrap().separator = "-".into();
    let error = open(folder.path(), &spec).unwrap_err().to_string();
    assert!(error.contains("3_ann_1.wav: has no \"-\" in its name"), "{error}");
}

#[test]
fn a_damaged_sound_is_refused_or_left_out_and_counted() {
    let mut files = two_classes();
    let good = wav(RATE, &square(90, 9, 9000));
    files.push(("train/low/cut.wav", good[..100].to_vec()));
    files.push(("train/low/empty.wav", wav(RATE, &[])));
    files.push(("train/low/song.mp3", b"ID3".to_vec()));
    let folder = folder(&files);
    let error = open(folder.path(), &spec()).unwrap_err().to_string();
    assert!(error.contains("train/low/cut.wav: its header promises 180 bytes of sound"), "{error}");
    assert!(error.contains("it is cut short; or leave such files out with on_error"), "{error}");
    let data = open(folder.path(), &DataSpec { on_error: OnError::Skip, ..spec() }).unwrap();
    assert_eq!((data.train.len(), data.skipped.len()), (3, 3));
    assert!(data.skipped[1].contains("empty.wav: has no sound in it"), "{:?}", data.skipped);
    assert!(data.skipped[2].contains("song.mp3: is no WAV"), "{:?}", data.skipped);
}

#[test]
fn what_does_not_fit_is_named() {
    let error_of = |files: &[(&str, Vec<u8>)], spec: &DataSpec| {
        open(folder(files).path(), spec).unwrap_err().to_string()
    };
    let fast = [("train/a/x.wav", wav(44_100, &[1, 2, 3]))];
    let error = error_of(&fast, &spec());
    assert!(
        error.contains("x.wav: has 44100 samples a second, data.audio.rate is 1000"),
        "{error}"
    );
    let beside = [two_classes(), vec![("train/x.wav", wav(RATE, &[1]))]].concat();
    assert!(error_of(&beside, &spec()).contains("train/x.wav: stands beside the folders"));
    let none = [("train/a/x.txt", vec![1])];
    assert!(error_of(&none, &spec()).contains("train: holds no .wav"));
    let flipped = DataSpec { augment: vec![Augment::Flip], ..spec() };
    let error = error_of(&two_classes(), &flipped);
    assert!(error.contains("\"flip\" is not for the data, sounds at 1000 Hz"), "{error}");
    for (audio, words) in [
        (AudioSpec { seconds: 0.0, ..audio() }, "seconds is below one sample at 1000 Hz"),
        (AudioSpec { hop_ms: f32::NAN, ..audio() }, "hop_ms is below one sample"),
        (AudioSpec { bands: 0, ..audio() }, "bands is 0"),
        (AudioSpec { high_hz: Some(600.0), ..audio() }, "from 0 to 500 Hz"),
        (AudioSpec { coefficients: Some(4), ..audio() }, "those of kind = \"mfcc\""),
        (AudioSpec { separator: String::new(), ..audio() }, "separator is empty"),
    ] {
        let error = error_of(&two_classes(), &DataSpec { audio: Some(audio), ..spec() });
        assert!(error.starts_with("data.audio: ") && error.contains(words), "{error}, not {words}");
    }
    let images = DataSpec { audio: Some(audio()), ..DataSpec::default() };
    let error = open(Path::new("."), &images).unwrap_err().to_string();
    assert!(error.contains("is for sounds, the data are images of 8×8"), "{error}");
}

#[test]
fn the_table_gives_the_front_end() {
    let mfcc = AudioSpec { kind: FeatureKind::Mfcc, bands: 20, rate: 8000, ..AudioSpec::default() };
    let found = mfcc.front_end().unwrap();
    let wanted = AudioFrontEnd {
        rate: 8000,
        length: 8000,
        frame: 256,
        hop: 128,
        fft: 256,
        bands: 20,
        high_hz: 4000.0,
        mfcc: Some(10),
        ..AudioFrontEnd::default()
    };
    assert_eq!(found, wanted);
    // 25 ms at 16 kHz are 400 samples: the transform takes the next power of two.
    let speech = AudioSpec { window_ms: 25.0, hop_ms: 10.0, ..AudioSpec::default() };
    let AudioFrontEnd { frame, hop, fft, .. } = speech.front_end().unwrap();
    assert_eq!((frame, hop, fft), (400, 160, 512));
    assert_eq!(AudioSpec::default().front_end().unwrap(), AudioFrontEnd::default());
}

#[test]
fn features_are_kept_for_the_front_end_that_made_them_only() {
    let clip = Clip::new(square(120, 10, 8000));
    let first = features(&clip, &front_end());
    assert_eq!(features(&clip.clone(), &front_end()), first);
    let start = AudioFrontEnd { align: Align::Start, ..front_end() };
    assert_ne!(features(&clip, &start), first);
    assert_eq!(features(&clip, &start), features(&Clip::new(square(120, 10, 8000)), &start));
    let mut later = clip.clone();
    later.shift_by(40);
    // In the middle of 200 samples begins a clip of 120 at 40; 40 later ends it at the end.
    let padded: Vec<i16> = [vec![0; 80], square(120, 10, 8000)].concat();
    assert_eq!(features(&later, &front_end()), features(&Clip::new(padded), &front_end()));
    assert_eq!(features(&clip, &front_end()), first);
}

#[test]
fn shifts_go_both_ways_and_no_further() {
    let clip = Clip::new(square(120, 10, 8000));
    let shifts: Vec<i32> = (0..500).map(|i| changed("shift:30", &clip, i).shift()).collect();
    assert!(shifts.iter().all(|s| (-30..=30).contains(s)));
    assert!(shifts.contains(&-30) && shifts.contains(&30));
}

#[test]
fn gain_is_within_its_decibels() {
    let clip = Clip::new(square(100, 10, 10_000));
    let peaks: Vec<i16> = (0..300).map(|i| changed("gain:6", &clip, i).samples()[0]).collect();
    // 6 dB are a factor of 1.9953.
    assert!(peaks.iter().all(|&peak| (5011..=19_953).contains(&peak)));
    assert!(peaks.iter().min().unwrap() < &5300 && peaks.iter().max().unwrap() > &19_000);
    let loud = Clip::new(vec![i16::MIN; 4]);
    assert!(changed("gain:20", &loud, 1).samples().iter().all(|&s| s <= 0));
}

#[test]
fn noise_is_as_loud_as_asked_and_fills_the_length() {
    let clip = Clip::new(square(120, 10, 10_000));
    let noisy = changed("noise:20:100", &clip, 3);
    assert_eq!(noisy.samples().len(), 200);
    let fitted = [vec![0; 40], square(120, 10, 10_000), vec![0; 40]].concat();
    let difference = noisy.samples().iter().zip(&fitted).map(|(a, b)| f64::from(a - b));
    let rms = (difference.map(|d| d * d).sum::<f64>() / 200.0).sqrt();
    // 20 dB below a root mean square of 10000; that of 200 even numbers varies by some 3 %.
    assert!((rms - 1000.0).abs() < 120.0, "{rms}");
    assert!(noisy.samples()[..40].iter().any(|&s| s != 0));
    let mut shifted = clip.clone();
    shifted.shift_by(-40);
    let noisy = changed("noise:100:100", &shifted, 3);
    assert_eq!((noisy.shift(), noisy.samples()[0], noisy.samples()[130]), (0, 10_000, 0));
}

#[test]
fn noise_leaves_its_share_of_the_sounds_alone() {
    let clip = Clip::new(square(120, 10, 10_000));
    let noisy = |change: &str| {
        let changed = (0..1000).map(|i| changed(change, &clip, i));
        let hit: Vec<bool> = changed.map(|c| c.samples() != clip.samples()).collect();
        // What is left alone has its own length, and so silence around it.
        (hit.iter().filter(|&&hit| hit).count(), hit)
    };
    // Binomial: standard deviation 16 at a half, 13 at a fifth.
    let (half, which) = noisy("noise:20");
    assert!((420..580).contains(&half), "{half}");
    assert_eq!(noisy("noise:20").1, which);
    let (fifth, _) = noisy("noise:10-40:20");
    assert!((140..260).contains(&fifth), "{fifth}");
    assert_eq!(noisy("noise:20:100").0, 1000);
}

#[test]
fn masks_hide_frames_and_bands_and_nothing_else() {
    let clip = Clip::new(square(300, 7, 8000));
    let plain = features(&clip, &front_end());
    let [mut widest_time, mut widest_bands] = [0, 0];
    for i in 0..200 {
        let timed = features(&changed("time-mask:3", &clip, i), &front_end());
        let frames = timed.chunks(6).zip(plain.chunks(6));
        let hidden: Vec<bool> = frames.map(|(a, b)| a == [0.0; 6] && a != b).collect();
        for ((masked, plain), hidden) in timed.chunks(6).zip(plain.chunks(6)).zip(&hidden) {
            assert!(*hidden || masked == plain);
        }
        let runs = hidden.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
        assert!(runs <= 1, "{hidden:?}");
        widest_time = widest_time.max(hidden.iter().filter(|&&h| h).count());

        let banded = features(&changed("feature-mask:2", &clip, i), &front_end());
        let bands = (0..6).filter(|&b| banded.chunks(6).all(|frame| frame[b] == 0.0));
        let bands: Vec<usize> = bands.collect();
        widest_bands = widest_bands.max(bands.len());
        for (at, (masked, plain)) in banded.iter().zip(&plain).enumerate() {
            assert!(bands.contains(&(at % 6)) || masked == plain);
        }
    }
    assert_eq!((widest_time, widest_bands), (3, 2));
}

#[test]
fn a_view_depends_on_seed_epoch_and_sample_alone() {
    let folder = folder(&two_classes());
    let augment = ["shift:20", "gain:3", "noise:10-30", "time-mask:2", "feature-mask:1"];
    let augment = augment.map(|text| Augment::try_from(text.to_string()).unwrap());
    let spec = DataSpec { augment: augment.to_vec(), ..spec() };
    let data = open(folder.path(), &spec).unwrap();
    let view = |order: Vec<usize>, size: usize, epoch: u64| -> Vec<f32> {
        let batches = Batches::new(&data.train, &data.preprocess, size).unwrap();
        let batches = batches.in_order(order).augmented(&data.augment, 5, epoch);
        batches.flat_map(|batch| batch.values).collect()
    };
    let [all, again] = [view(vec![0, 1, 2], 3, 1), view(vec![0, 1, 2], 1, 1)];
    assert_eq!(all, again);
    assert_eq!(view(vec![2], 1, 1), all[2 * 66..]);
    assert_ne!(view(vec![0, 1, 2], 3, 2), all);
    // A teacher that hears with the same front end hears the same view.
    let batches = Batches::new(&data.train, &data.preprocess, 3).unwrap();
    let batch = batches.augmented(&data.augment, 5, 1).next().unwrap();
    assert_eq!(batch.preprocessed(&data.preprocess).unwrap().1, all);
    assert_eq!(waves(&data.train).clips[0].shift(), 0);
}

#[test]
fn texts_are_parsed_and_written_as_they_were() {
    for text in ["shift:100", "gain:6", "noise:10-40:30", "time-mask:8", "feature-mask:4"] {
        let parsed = Augment::try_from(text.to_string()).unwrap();
        assert_eq!(String::from(parsed), text);
    }
    let half = Augment::try_from("noise:20".to_string()).unwrap();
    assert_eq!(half, Augment::Audio(AudioAugment::Noise { low: 20, high: 20, percent: 50 }));
    let bad = ["shift:0", "gain:101", "noise:40-10", "noise:", "noise:20:0", "noise:20:x"];
    for bad in [&bad[..], &["time-mask:x", "reverb:1"]].concat() {
        let error = Augment::try_from(bad.to_string()).unwrap_err();
        assert!(error.contains("\"noise:LOW-HIGH:P\"") && error.contains("crop:N"), "{error}");
    }
}
