//! Signed bundles: what was changed, and what another signed, is noticed.

use std::path::Path;
use std::process::Command;

use crate::runs::digits;
use crate::util::{Output, Workdir, files, run, skipped};

/// A folder with two keys and a bundle that the first signed; none, and said, without ssh-keygen.
fn signed(test: &str) -> Option<Workdir> {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        skipped(test, "ssh-keygen is missing");
        return None;
    }
    let workdir = Workdir::new();
    for (name, kind) in [("release", "ed25519"), ("other", "ed25519"), ("rsa", "rsa")] {
        let mut keygen = Command::new("ssh-keygen");
        let keygen = keygen.args(["-q", "-N", "", "-C", "of a test", "-t", kind, "-f"]);
        assert_eq!(run(keygen.arg(workdir.path(name))).code, 0);
    }
    for out in ["board", "board.tar.gz"] {
        assert_eq!(bundle(&workdir, &["--sign", "release", "--out", out]).code, 0);
    }
    Some(workdir)
}

/// Bundles the digits.
fn bundle(workdir: &Workdir, args: &[&str]) -> Output {
    let path = |name: &str| digits().path(name).display().to_string();
    let model = path("out/digits/student-int8.safetensors");
    let golden = path("out/digits/golden.safetensors");
    workdir.run(&[&["bundle", &model, "--golden", &golden, "-q"], args].concat())
}

/// The exit code and stdout of `check`.
fn check(workdir: &Workdir, args: &[&str]) -> (i32, String) {
    let output = workdir.run(&[&["check"], args].concat());
    (output.code, output.stdout)
}

const KEY: [&str; 2] = ["--public-key", "release.pub"];

#[test]
fn a_signed_bundle_is_the_signers_and_no_others() {
    let Some(workdir) = signed("a_signed_bundle_is_the_signers_and_no_others") else { return };
    for bundle in ["board", "board.tar.gz"] {
        let (code, said) = check(&workdir, &[&[bundle], &KEY[..]].concat());
        assert_eq!(code, 0, "{said}");
        assert!(said.ends_with("sums right; signed by release.pub\n"), "{said}");
        let (code, said) = check(&workdir, &[bundle, "--public-key", "other.pub"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.starts_with("FAILED: ") && said.contains("NOT signed by other.pub"), "{said}");
        let (code, said) = check(&workdir, &[bundle]);
        assert_eq!(code, 0, "{said}");
        assert!(said.ends_with("sums right; signed; --public-key says by whom\n"), "{said}");
    }
    // Two keys in a file, as while one follows the other.
    let both = [workdir.read("other.pub"), workdir.read("release.pub")].concat();
    workdir.write("both.pub", both);
    assert_eq!(check(&workdir, &["board", "--public-key", "both.pub"]).0, 0);
    // Signed for something else.
    let mut keygen = Command::new("ssh-keygen");
    keygen.current_dir(workdir.path("board")).args([
        "-q",
        "-Y",
        "sign",
        "-n",
        "file",
        "-f",
        "../release",
    ]);
    std::fs::remove_file(workdir.path("board/SHA256SUMS.sig")).unwrap();
    assert_eq!(run(keygen.arg("SHA256SUMS")).code, 0);
    assert_eq!(check(&workdir, &["board", KEY[0], KEY[1]]).0, 1);
    // Signed by nobody; the same command without --sign takes the signature away too.
    assert_eq!(bundle(&workdir, &["--out", "board"]).code, 0);
    assert!(!workdir.path("board/SHA256SUMS.sig").exists());
    let (code, said) = check(&workdir, &["board", KEY[0], KEY[1]]);
    assert_eq!(code, 1, "{said}");
    assert!(said.ends_with("; not signed\n"), "{said}");
}

#[test]
fn a_wrong_byte_in_any_file_is_noticed() {
    let Some(workdir) = signed("a_wrong_byte_in_any_file_is_noticed") else { return };
    for (name, whole) in files(&workdir.path("board")) {
        let path = format!("board/{name}");
        // In the middle of a line: the signature's line breaks carry nothing.
        for place in [1, whole.len() / 2 + 1, whole.len() - 3] {
            let mut wrong = whole.clone();
            wrong[place] ^= 1;
            workdir.write(&path, &wrong);
            let output = workdir.run(&["check", "board", KEY[0], KEY[1]]);
            assert_ne!(output.code, 0, "byte {place} of {name}: {output:?}");
            assert!(!output.stdout.contains("passed"), "byte {place} of {name}: {output:?}");
        }
        workdir.write(&path, &whole);
        let (code, said) = check(&workdir, &["board", KEY[0], KEY[1]]);
        assert_eq!(code, 0, "{name}: {said}");
    }
    // A new sum for a changed file does not help it.
    workdir.write("board/labels.txt", "other\n");
    let sums = Command::new("sha256sum")
        .args(["README.txt", "golden.safetensors", "labels.txt"])
        .args(["model.safetensors", "hipflask-run"])
        .current_dir(workdir.path("board"))
        .output()
        .unwrap();
    workdir.write("board/SHA256SUMS", sums.stdout);
    assert_eq!(check(&workdir, &["board"]).0, 0);
    assert_eq!(check(&workdir, &["board", KEY[0], KEY[1]]).0, 1);
}

#[test]
fn files_that_are_missing_or_more_are_named() {
    let Some(workdir) = signed("files_that_are_missing_or_more_are_named") else { return };
    std::fs::remove_file(workdir.path("board/labels.txt")).unwrap();
    workdir.write("board/more.txt", "more");
    let (code, said) = check(&workdir, &["board", KEY[0], KEY[1]]);
    assert_eq!(code, 1);
    assert!(said.contains("labels.txt: is missing\n"), "{said}");
    assert!(said.contains("more.txt: has no checksum\n") && said.contains("sums WRONG"), "{said}");
}

#[test]
fn archives_that_lie_are_refused() {
    let Some(workdir) = signed("archives_that_lie_are_refused") else { return };
    let whole = workdir.read("board.tar.gz");
    workdir.write("half.tar.gz", &whole[..whole.len() / 2]);
    let error = workdir.refused(&["check", "half.tar.gz"]);
    assert!(error.contains("half.tar.gz: is no .tar.gz, or was damaged"), "{error}");
    let pack = |entries: &[(&str, &[u8])]| {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            // As an attacker writes it: the crate's own setter refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, *bytes).unwrap();
        }
        workdir.write("lie.tar.gz", archive.into_inner().unwrap().finish().unwrap());
        workdir.refused(&["check", "lie.tar.gz"])
    };
    let sum = "0".repeat(64);
    let sums = |name: &str| format!("{sum}  {name}\n").into_bytes();
    for (entries, expected) in [
        (vec![("b/x", &b"1"[..]), ("c/y", b"2")], "in several folders"),
        (vec![("b/x", b"1"), ("b/x", b"2")], "x: is in it twice"),
        (vec![("b/-rf", b"1")], "\"-rf\": is no name"),
        (vec![("b/x", b"1")], "lie.tar.gz: is no bundle"),
        (vec![("b/SHA256SUMS", &sums("../x"))], "SHA256SUMS: line 1"),
        (vec![("b/SHA256SUMS", b"")], "SHA256SUMS: is empty"),
    ] {
        let error = pack(&entries);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let Some(workdir) = signed("keys_of_other_kinds_are_refused") else { return };
    let refused = |args: &[&str]| workdir.refused(args);
    for (key, expected) in [
        ("rsa.pub", "is no public ed25519 key"),
        ("release", "is no public ed25519 key"),
        ("nothing.pub", "cannot be read"),
    ] {
        let error = refused(&["check", "board", "--public-key", key]);
        assert!(error.contains(key) && error.contains(expected), "{error}");
    }
    for (key, expected) in [("rsa", "is no ed25519 key"), ("nothing", "there is no such key")] {
        let output = bundle(&workdir, &["--sign", key, "--out", "none"]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
        assert!(!Path::new(&workdir.path("none/model.safetensors")).exists());
    }
}
