#![expect(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;
use crate::input::Preprocess;

/// A sweep of triangle waves and some hum, in whole numbers, as in `tests/pytorch/audio_features.py`.
fn chirp(n: i64) -> Vec<i16> {
    let sample = |i: i64| {
        let phase = (i * 700 + i * i / 3) % 65536;
        let triangle = if phase < 32768 { phase } else { 65535 - phase } - 16384;
        (triangle + (i * 97) % 2048 - 1024) as i16
    };
    (0..n).map(sample).collect()
}

fn log_mel() -> AudioFrontEnd {
    AudioFrontEnd {
        rate: 8000,
        length: 4000,
        frame: 256,
        hop: 128,
        fft: 256,
        bands: 10,
        high_hz: 4000.0,
        ..AudioFrontEnd::default()
    }
}

fn mfcc() -> AudioFrontEnd {
    AudioFrontEnd {
        frame: 200,
        hop: 80,
        bands: 20,
        low_hz: 60.0,
        high_hz: 3800.0,
        mfcc: Some(8),
        ..log_mel()
    }
}

fn features(front_end: &AudioFrontEnd, clip: &[i16]) -> Vec<f32> {
    let mut extractor = Extractor::new(front_end).unwrap();
    let mut features = vec![f32::NAN; front_end.shape().iter().product()];
    extractor.run(clip, &mut features);
    features
}

#[test]
fn features_are_those_of_librosa_and_scipy() {
    // Printed by tests/pytorch/audio_features.py (librosa 0.11.0, scipy, numpy in f64): the first,
    // a middle and the last frame.
    let logs: [(usize, [f32; 10]); 3] = [
        (
            0,
            [
                6.35340, 2.52079, 0.88881, 0.08315, -0.95431, -1.40041, -1.83216, -1.92131,
                -2.03133, -2.32539,
            ],
        ),
        (
            15,
            [
                5.95144, 6.43714, -0.10042, 2.70019, 0.90446, 0.52285, -0.87205, -1.06055,
                -1.33412, -1.82841,
            ],
        ),
        (
            29,
            [
                -4.93567, 6.23782, 6.05999, -0.61623, 1.39161, 2.02139, -0.56042, 0.12391,
                -0.99454, -1.40219,
            ],
        ),
    ];
    let cepstra: [(usize, [f32; 8]); 3] = [
        (0, [-5.69222, 8.55730, 4.04898, 2.47468, 1.38466, 0.94954, 0.90749, 0.52587]),
        (24, [-3.07835, 7.92976, 3.05052, 3.03982, 1.59363, 0.37330, -1.07140, -2.39758]),
        (47, [-5.33391, 2.87612, -1.71757, -2.30955, -5.26701, -7.53911, -6.98855, -2.95986]),
    ];
    let close = |front_end: &AudioFrontEnd, frame: usize, wanted: &[f32]| {
        let found = features(front_end, &chirp(4000));
        let row = &found[frame * wanted.len()..][..wanted.len()];
        for (found, wanted) in row.iter().zip(wanted) {
            // f32 spectra against f64, printed with five decimals.
            assert!((found - wanted).abs() < 1e-4, "frame {frame}: {row:?}, not {wanted:?}");
        }
    };
    assert_eq!((log_mel().shape(), mfcc().shape()), ([30, 10], [48, 8]));
    for (frame, wanted) in &logs {
        close(&log_mel(), *frame, wanted);
    }
    for (frame, wanted) in &cepstra {
        close(&mfcc(), *frame, wanted);
    }
}

#[test]
fn every_machine_gives_the_recorded_bits() {
    // FNV-1a over the features' bits, recorded on x86-64; `scripts/cross-check` runs this elsewhere.
    let digest = |front_end: &AudioFrontEnd| {
        let bits = features(front_end, &chirp(4000)).into_iter().flat_map(f32::to_le_bytes);
        bits.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    assert_eq!(digest(&log_mel()), 13_363_474_595_066_512_722, "log-mel");
    assert_eq!(digest(&mfcc()), 8_448_280_895_181_317_723, "mfcc");
}

#[test]
fn silence_is_the_floor_standardised() {
    let ln_floor = 1e-6_f32.ln();
    let front_end = AudioFrontEnd { mean: vec![ln_floor], std: vec![2.0], ..log_mel() };
    assert!(features(&front_end, &[]).iter().all(|&v| v.abs() < 1e-6));
    let one = AudioFrontEnd { mean: vec![ln_floor - 1.0], std: vec![2.0], ..log_mel() };
    assert!(features(&one, &vec![0; 9000]).iter().all(|&v| (v - 0.5).abs() < 1e-6));
}

#[test]
fn a_file_gives_the_features_of_its_samples() {
    let clip = chirp(3000);
    let data: Vec<u8> = clip.iter().flat_map(|s| s.to_le_bytes()).collect();
    let found = log_mel().features(&wav(1, 1, 8000, 16, &data)).unwrap();
    assert_eq!(found, features(&log_mel(), &clip));
    assert!(log_mel().features(&wav(1, 1, 16_000, 16, &data)).is_err());
}

#[test]
fn the_network_must_take_frames_by_features() {
    use crate::graph::Layout::{Nchw, Nhwc};
    let preprocess = Preprocess::Audio(log_mel());
    preprocess.check(Nhwc, &[1, 30, 10, 1]).unwrap();
    preprocess.check(Nchw, &[1, 1, 30, 10]).unwrap();
    for wrong in [&[1, 10, 30, 1][..], &[1, 30, 10, 2], &[1, 300]] {
        let error = preprocess.check(Nhwc, wrong).unwrap_err();
        assert!(error.message().contains("30 frames of 10 features"), "{error}");
    }
    let text = serde_json::to_string(&preprocess).unwrap();
    assert!(text.starts_with("{\"kind\":\"audio\",\"rate\":8000"), "{text}");
    assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), preprocess);
}

#[test]
fn mean_and_std_are_one_a_feature() {
    let plain = features(&mfcc(), &chirp(4000));
    let (mean, std) =
        ((0..8).map(|i| i as f32).collect(), vec![1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 1.0, 0.5]);
    let standard = AudioFrontEnd { mean, std: std.clone(), ..mfcc() };
    for (i, (v, plain)) in features(&standard, &chirp(4000)).iter().zip(&plain).enumerate() {
        assert_eq!(v.to_bits(), ((plain - (i % 8) as f32) / std[i % 8]).to_bits());
    }
}

#[test]
fn bad_numbers_are_named() {
    let base = log_mel;
    for (front_end, words) in [
        (AudioFrontEnd { rate: 0, ..base() }, "rate is 0"),
        (AudioFrontEnd { length: 1 << 25, ..base() }, "length is 33554432"),
        (AudioFrontEnd { length: 100, ..base() }, "frame is 256: it must be from 2 to 100"),
        (AudioFrontEnd { hop: 0, ..base() }, "hop is 0"),
        (AudioFrontEnd { fft: 300, ..base() }, "power of two"),
        (AudioFrontEnd { fft: 128, ..base() }, "frame is 256: it must be from 2 to 128"),
        (AudioFrontEnd { bands: 0, ..base() }, "bands is 0"),
        (AudioFrontEnd { high_hz: 5000.0, ..base() }, "from 0 to 4000 Hz"),
        (AudioFrontEnd { low_hz: f32::NAN, ..base() }, "from NaN"),
        (AudioFrontEnd { floor: 0.0, ..base() }, "floor is 0"),
        (AudioFrontEnd { mfcc: Some(11), ..base() }, "mfcc is 11: it must be from 1 to 10"),
        (AudioFrontEnd { mean: vec![0.0; 3], ..base() }, "3 numbers for 10 features"),
        (AudioFrontEnd { std: vec![0.0], ..base() }, "std above 0"),
        (AudioFrontEnd { length: 1 << 24, hop: 1, ..base() }, "at most 16777216"),
        (AudioFrontEnd { bands: 100, ..base() }, "take fewer bands or a larger fft than 256"),
    ] {
        let error = Extractor::new(&front_end).err().unwrap();
        assert!(error.message().contains(words), "{error} has no {words:?}");
    }
    for front_end in [base(), mfcc(), AudioFrontEnd::default()] {
        let text = serde_json::to_string(&front_end).unwrap();
        assert_eq!(serde_json::from_str::<AudioFrontEnd>(&text).unwrap(), front_end);
        Extractor::new(&front_end).unwrap();
    }
}

/// A file with a 16-byte format chunk.
fn wav(code: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = channels * (bits / 8);
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    file.extend(code.to_le_bytes().into_iter().chain(channels.to_le_bytes()));
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes().into_iter().chain(bits.to_le_bytes()));
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn samples(file: &[u8]) -> Vec<i16> {
    Wav::parse(file).unwrap().samples().collect()
}

fn error_of(file: &[u8]) -> String {
    Wav::parse(file).unwrap_err().to_string()
}

#[test]
fn pcm_of_8_and_16_bits_is_read_and_channels_are_averaged() {
    let mono = wav(1, 1, 8000, 16, &[0, 0, 0xff, 0x7f, 0, 0x80]);
    assert_eq!(samples(&mono), [0, 32767, -32768]);
    assert_eq!((Wav::parse(&mono).unwrap().rate, Wav::parse(&mono).unwrap().len()), (8000, 3));
    assert_eq!(samples(&wav(1, 1, 8000, 8, &[0, 128, 255])), [-32768, 0, 127 * 256]);
    // (1 + 4) / 2 and (-32768 - 32767) / 2, towards 0.
    let stereo = wav(1, 2, 8000, 16, &[1, 0, 4, 0, 0, 0x80, 1, 0x80]);
    assert_eq!(samples(&stereo), [2, -32767]);
    assert_eq!(samples(&wav(1, 2, 8000, 8, &[128, 130])), [256]);
}

#[test]
fn other_chunks_and_the_extensible_format_are_understood() {
    let plain = wav(1, 1, 8000, 16, &[1, 0, 2, 0]);
    let (start, sound) = plain.split_at(36);
    // An odd chunk is padded to an even size.
    let list = [start, b"LIST\x03\0\0\0abc\0", sound].concat();
    assert_eq!(samples(&list), [1, 2]);
    let mut extensible = start.to_vec();
    extensible[16] = 40;
    extensible[20..22].copy_from_slice(&[0xfe, 0xff]);
    extensible.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
    extensible.extend([0; 14]);
    assert_eq!(samples(&[&extensible, sound].concat()), [1, 2]);
    // Written to a pipe: the size is not known.
    let mut piped = plain;
    piped[40..44].fill(0xff);
    assert_eq!(samples(&piped), [1, 2]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let good = wav(1, 1, 8000, 16, &[0; 20]);
    for (file, words) in [
        (b"OggS and so on".to_vec(), "is no WAV file"),
        (good[..30].to_vec(), "under 16 bytes"),
        (good[..36].to_vec(), "ends before its sound"),
        (good[..40].to_vec(), "ends before its sound"),
        (good[..50].to_vec(), "promises 20 bytes of sound, the file holds 6: it is cut short"),
        (wav(3, 1, 8000, 32, &[]), "32-bit sound, floating point (format 3)"),
        (wav(1, 1, 8000, 24, &[]), "24-bit sound, PCM (format 1)"),
        (wav(6, 1, 8000, 8, &[]), "A-law"),
        (wav(0x55, 1, 8000, 0, &[]), "MP3"),
        (wav(1, 0, 8000, 16, &[]), "0 channels"),
        ([&good[..12], &good[36..]].concat(), "sound before its format"),
    ] {
        let error = error_of(&file);
        assert!(error.contains(words), "{error} has no {words:?}");
    }
    let fast = wav(1, 1, 44_100, 16, &[]);
    let error = log_mel().check_rate(&Wav::parse(&fast).unwrap()).unwrap_err().to_string();
    assert!(error.contains("44100 samples a second, the model takes 8000"), "{error}");
    assert!(error.contains("-ar 8000"), "{error}");
    assert!(log_mel().check_rate(&Wav::parse(&good).unwrap()).is_ok());
}

proptest! {
    #[test]
    fn a_short_clip_is_padded_and_a_long_one_cropped(
        n in 0_usize..700, length in 40_usize..500, centre: bool,
    ) {
        let align = if centre { Align::Centre } else { Align::Start };
        let front_end = AudioFrontEnd {
            length, align, frame: 32, hop: 13, fft: 64, bands: 4, ..log_mel()
        };
        let clip = chirp(n as i64);
        // The front end's clip, sample by sample.
        let before = if centre { (n as i64 - length as i64).div_euclid(2) } else { 0 };
        let at = |i: usize| usize::try_from(i as i64 + before).ok().and_then(|i| clip.get(i));
        let fitted: Vec<i16> = (0..length).map(|i| at(i).copied().unwrap_or(0)).collect();
        prop_assert_eq!(features(&front_end, &clip), features(&front_end, &fitted));
    }

    #[test]
    fn a_shift_moves_the_clip_within_silence(n in 1_usize..300, shift in -200_i32..200) {
        let front_end = AudioFrontEnd {
            length: 200, align: Align::Start, frame: 32, hop: 13, fft: 64, bands: 4, ..log_mel()
        };
        let clip = chirp(n as i64);
        let moved: Vec<i16> = match usize::try_from(shift) {
            Ok(later) => vec![0; later].into_iter().chain(clip.clone()).collect(),
            Err(_) => clip.iter().skip(shift.unsigned_abs() as usize).copied().collect(),
        };
        let mut extractor = Extractor::new(&front_end).unwrap();
        let mut found = vec![f32::NAN; front_end.shape().iter().product()];
        extractor.run_shifted(&clip, shift, &mut found);
        prop_assert_eq!(found, features(&front_end, &moved));
    }

    #[test]
    fn features_are_finite_for_any_clip(clip in prop::collection::vec(any::<i16>(), 0..600)) {
        let front_end = AudioFrontEnd { length: 512, ..mfcc() };
        prop_assert!(features(&front_end, &clip).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..44, keep in 0_usize..60,
    ) {
        let mut file = wav(1, 2, 8000, 16, &[7; 16]);
        file.truncate(keep);
        let at = at.min(file.len());
        let end = (at + bytes.len()).min(file.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(wav) = Wav::parse(&file) {
            prop_assert_eq!(wav.samples().count(), wav.len());
        }
        let _ = Wav::parse(&bytes);
    }
}
