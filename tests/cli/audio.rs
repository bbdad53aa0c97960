//! Sounds from WAV files to the device binary: the desk and the board hear the same.

use std::process::Command;

use crate::runs::digits;
use crate::util::{Workdir, number, run};

const RECIPE: &str = r#"
name = "tones"
seed = 1

[data]
format = "wav"
train = ["sounds/train"]
test = ["sounds/test"]
augment = ["shift:20", "gain:6", "time-mask:2", "feature-mask:2"]

[data.audio]
rate = 4000
seconds = 0.25
bands = 12

[teacher]
network = "ds-cnn"
width = 8
depth = 2
epochs = 80
schedule = { kind = "cosine" }
batch_size = 8
optimizer = { kind = "adam", lr = 1e-2 }

[student]
network = "ds-cnn"
width = 4
depth = 1

[distill]
epochs = 80
schedule = { kind = "cosine" }
batch_size = 8
optimizer = { kind = "adam", lr = 1e-2 }

[quantize]
to = ["int8"]
calibration = { samples = 24 }

[validate]
golden = 4

[bundle]
targets = []
"#;

/// A mono WAV file of 16 bits at 4 kHz.
fn wav(samples: &[i16]) -> Vec<u8> {
    let data = samples.len() as u32 * 2;
    let mut file = [&b"RIFF"[..], &(36 + data).to_le_bytes(), b"WAVEfmt \x10\0\0\0"].concat();
    file.extend([1, 0, 1, 0, 0xa0, 0x0f, 0, 0, 0x40, 0x1f, 0, 0, 2, 0, 16, 0]);
    file.extend([&b"data"[..], &data.to_le_bytes()].concat());
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    file
}

/// Tones of three heights in `sounds/train` and `sounds/test`, a little different each time.
fn tones() -> Workdir {
    let workdir = Workdir::new();
    for (split, count) in [("train", 12), ("test", 4)] {
        for (class, hz) in [("low", 300.0), ("middle", 600.0), ("top", 1200.0)] {
            let folder = format!("sounds/{split}/{class}");
            std::fs::create_dir_all(workdir.path(&folder)).unwrap();
            for i in 0..count {
                let hz = hz * (0.95 + 0.01 * f64::from(i % 11));
                let turn = std::f64::consts::TAU * hz / 4000.0;
                let tone = |at: i32| ((f64::from(at) * turn).sin() * 8000.0) as i16;
                let samples: Vec<i16> = (0..700 + 50 * i).map(tone).collect();
                workdir.write(&format!("{folder}/{i}.wav"), wav(&samples));
            }
        }
    }
    workdir.write("tones.toml", RECIPE);
    workdir
}

#[test]
fn a_student_of_tones_hears_on_the_device_what_it_hears_on_the_desk() {
    let workdir = tones();
    let report = workdir.json(&["ship", "tones.toml", "--out", "out", "-q"]);
    // Tones an octave apart: the teacher and the student know them all.
    assert!(number(&report, "students.int8.accuracy") > 0.9, "{report}");

    let model = "out/student-int8.safetensors";
    let sounds = ["sounds/test/low/0.wav", "sounds/test/middle/2.wav", "sounds/test/top/1.wav"];
    let labels = ["low", "middle", "top"];
    let desk = workdir.json(&[&["predict", model], &sounds[..]].concat());
    for isa in ["scalar", ""] {
        let device = digits().path("out/digits/bundle/hipflask-run");
        let mut command = Command::new(device);
        command.current_dir(workdir.path("")).arg("--json").args(["predict", model]).args(sounds);
        let command = match isa {
            "" => command.env_remove("HIPFLASK_ISA"),
            isa => command.env("HIPFLASK_ISA", isa),
        };
        let output = run(command);
        assert_eq!(output.code, 0, "{output:?}");
        for (i, line) in output.stdout.lines().enumerate() {
            let device: serde_json::Value = serde_json::from_str(line).unwrap();
            let [device, desk] = [&device["top"], &desk["predictions"][i]["top"]];
            assert_eq!(device[0]["label"], labels[i]);
            for class in 0..3 {
                // Numbers are printed so that they are read back as the same bits.
                for key in ["index", "label", "score"] {
                    assert_eq!(device[class][key], desk[class][key], "{isa} {i} {class} {key}");
                }
            }
        }
        assert_eq!(output.stdout.lines().count(), 3);
    }

    let error = workdir.refused(&["predict", model, "tones.toml"]);
    assert!(error.contains("tones.toml: sound: is no WAV file"), "{error}");
}

#[test]
fn a_truncated_sound_is_refused_or_skipped_with_a_count() {
    let workdir = tones();
    workdir.write("sounds/train/low/cut.wav", &wav(&[1; 500])[..300]);
    let args = ["distill", "tones.toml", "--out", "out", "--set", "distill.epochs=1"];
    let error = workdir.refused(&args);
    let parts =
        ["low/cut.wav: its header promises 1000 bytes of sound, the file holds 256", "on_error"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    let skip = ["--set", "data.on_error=skip", "--set", "teacher.epochs=1"];
    let output = workdir.run(&[&args[..], &skip].concat());
    let warning = "1 damaged file or sample left out (data.on_error), as ";
    assert!(output.stderr.contains(warning) && output.stderr.contains("cut.wav"), "{output:?}");
}
