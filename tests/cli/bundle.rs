//! Bundles: complete, and with a proof that notices a single flipped bit.

use std::path::Path;
use std::process::Command;

use hipflask_runtime::golden::Golden;
use hipflask_runtime::{Model, Options, Session};
use sha2::{Digest, Sha256};

use crate::runs::{digits, small};
use crate::util::{Output, Workdir, files, rows_model_int8, run};

/// `./hipflask-run verify` in the folder `bundle`.
fn verify(bundle: &Path) -> Output {
    verify_by(&bundle.join("hipflask-run"), bundle)
}

/// `verify` by that program in the folder `bundle`.
fn verify_by(program: &Path, bundle: &Path) -> Output {
    let mut command = Command::new(program);
    command.current_dir(bundle).env_remove("HIPFLASK_ISA");
    run(command.args(["verify", "model.safetensors", "golden.safetensors"]))
}

#[test]
fn the_digits_bundle_proves_itself() {
    let output = verify(&digits().path("out/digits/bundle"));
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("passed: 32 of 32 samples bits equal on "), "{output:?}");
}

#[test]
fn the_bundles_checksums_are_those_of_its_files() {
    let bundle = files(&digits().path("out/digits/bundle"));
    let sums = String::from_utf8(bundle["SHA256SUMS"].clone()).unwrap();
    let mut named = Vec::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let digits: Vec<char> = sum.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        let promised: Vec<u8> = digits.chunks(2).map(byte).collect();
        assert_eq!(promised, Sha256::digest(&bundle[name]).as_slice(), "{name}");
        named.push(name);
    }
    named.sort_unstable();
    let others: Vec<_> = bundle.keys().filter(|name| *name != "SHA256SUMS").collect();
    assert_eq!(named, others);
    let folder = digits().path("out/digits");
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(bundle["model.safetensors"] == file("student-int8.safetensors"));
    assert!(bundle["golden.safetensors"] == file("golden.safetensors"));
}

#[test]
fn one_flipped_bit_of_the_model_is_noticed() {
    let workdir = Workdir::new();
    for name in ["model.safetensors", "golden.safetensors"] {
        workdir.write(name, digits().read(&format!("out/digits/bundle/{name}")));
    }
    // Where it lies: a program that was just written cannot be run while another test forks.
    let program = digits().path("out/digits/bundle/hipflask-run");
    let whole = workdir.read("model.safetensors");
    let folder = workdir.path("");
    assert_eq!(verify_by(&program, &folder).code, 0);
    // The length of the header, its first byte, and two bytes of every tensor.
    let mut places = vec![0, 8];
    let model = Model::open(workdir.path("model.safetensors")).unwrap();
    for tensor in model.graph().tensors.values() {
        let bytes = tensor.bytes();
        let start = whole.windows(bytes.len()).position(|window| window == bytes).unwrap();
        places.extend([start, start + bytes.len() / 2]);
    }
    for place in places {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        workdir.write("model.safetensors", flipped);
        let output = verify_by(&program, &folder);
        assert_ne!(output.code, 0, "byte {place}: {output:?}");
        assert!(!output.stdout.starts_with("passed"), "byte {place}: {output:?}");
    }
}

#[test]
fn no_wrong_byte_of_a_model_file_is_verified() {
    let workdir = Workdir::new();
    let whole = rows_model_int8();
    workdir.write("model.safetensors", &whole);
    let model = Model::open(workdir.path("model.safetensors")).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let inputs = vec![vec![0.1, 0.9, 0.4, 0.2], vec![0.0, 0.3, 0.8, 1.0]];
    let golden = Golden::record(&model, &mut session, inputs, Vec::new(), vec![0, 1]).unwrap();
    workdir.write("golden.safetensors", golden.of_file(&whole).to_bytes());
    let program = digits().path("out/digits/bundle/hipflask-run");
    let folder = workdir.path("");
    let passed = verify_by(&program, &folder);
    assert!(passed.stdout.starts_with("passed: 2 of 2 samples bits equal"), "{passed:?}");
    let (mut refused, mut mismatched) = (0, 0);
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        workdir.write("model.safetensors", damaged);
        let Output { code, stdout, stderr } = verify_by(&program, &folder);
        assert_eq!((code, stdout.as_str()), (2, ""), "byte {place}: {stderr}");
        let by_checksum = stderr.contains("another checksum");
        mismatched += usize::from(by_checksum);
        refused += usize::from(!by_checksum);
    }
    // Some break the structure; the others only the checksum tells from the file.
    assert!(refused > 0 && mismatched > 0, "{refused} and {mismatched} of {}", whole.len());
}

#[test]
fn a_bundle_of_an_f32_student_is_verified_within_a_tolerance() {
    let workdir = Workdir::new();
    let path = |name: &str| small().path(name).display().to_string();
    let document = workdir.json(&[
        "bundle",
        &path("out/student-f32.safetensors"),
        "--data",
        &path("small.toml"),
        "--teacher",
        &path("out/teacher.safetensors"),
        "--samples",
        "10",
        "--out",
        "board",
    ]);
    let written = files(&workdir.path("board"));
    let bytes: usize = written.values().map(Vec::len).sum();
    assert_eq!(document["bytes"], bytes);
    assert_eq!(document["out"], "board");
    let student = path("out/student-f32.safetensors");
    let error = workdir.refused(&["bundle", &student, "--samples", "0", "--out", "none"]);
    assert!(error.contains("--samples 0") && !workdir.path("none").exists(), "{error}");
    let output = verify(&workdir.path("board"));
    assert_eq!(output.code, 0, "{output:?}");
    let expected = "passed: 10 of 10 samples within tolerance on ";
    assert!(output.stdout.starts_with(expected), "{output:?}");
}
