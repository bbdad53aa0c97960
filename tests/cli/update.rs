//! `examples/deploy/update`, the script that a board runs to fetch a signed bundle.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use crate::runs::digits;
use crate::util::{Output, Workdir, files, run, skipped};

/// A folder with a key, its public part among the board's allowed signers, and the board's folder.
fn board(test: &str) -> Option<Workdir> {
    for program in ["curl", "ssh-keygen", "sha256sum", "tar"] {
        if Command::new(program).arg("--version").output().is_err() {
            skipped(test, &format!("{program} is missing"));
            return None;
        }
    }
    let workdir = Workdir::new();
    for name in ["release", "other"] {
        let mut keygen = Command::new("ssh-keygen");
        let keygen = keygen.args(["-q", "-N", "", "-t", "ed25519", "-f"]);
        assert_eq!(run(keygen.arg(workdir.path(name))).code, 0);
    }
    std::fs::create_dir(workdir.path("board")).unwrap();
    let key = String::from_utf8(workdir.read("release.pub")).unwrap();
    workdir.write("board/allowed_signers", format!("hipflask namespaces=\"hipflask\" {key}"));
    Some(workdir)
}

/// An archive with so many golden samples, signed by `key`.
fn bundle(workdir: &Workdir, out: &str, samples: &str, key: &str) {
    let model = digits().path("out/digits/student-int8.safetensors").display().to_string();
    workdir.ok(&["bundle", &model, "--samples", samples, "--sign", key, "--out", out, "-q"]);
}

/// The script, which writes into `restarted` where another bundle is in use.
fn update(workdir: &Workdir, archive: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/update");
    let mut command = Command::new("sh");
    command.arg(script).arg(workdir.path("board"));
    command.arg(format!("file://{}", workdir.path(archive).display()));
    run(command.args(["touch", "restarted"]).env_remove("HIPFLASK_ISA"))
}

fn current(workdir: &Workdir) -> String {
    std::fs::read_link(workdir.path("board/current")).unwrap().display().to_string()
}

#[test]
fn a_signed_bundle_comes_into_use_and_a_wrong_one_does_not() {
    let test = "a_signed_bundle_comes_into_use_and_a_wrong_one_does_not";
    let Some(workdir) = board(test) else { return };
    bundle(&workdir, "one.tar.gz", "3", "release");
    let output = update(&workdir, "one.tar.gz");
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("passed: 3 of 3 samples bits equal on "), "{output:?}");
    assert!(workdir.path("board/restarted").exists());
    let one = current(&workdir);
    let working = files(&workdir.path("board/current"));
    assert!(working.contains_key("SHA256SUMS.sig"));
    // The same again is no news.
    std::fs::remove_file(workdir.path("board/restarted")).unwrap();
    assert_eq!(update(&workdir, "one.tar.gz").code, 0);

    bundle(&workdir, "others.tar.gz", "4", "other");
    let whole = workdir.read("one.tar.gz");
    workdir.write("cut.tar.gz", &whole[..whole.len() - 100]);
    // A model that was changed after it was signed.
    std::fs::create_dir(workdir.path("unpacked")).unwrap();
    let tar = |args: &[&str]| {
        let mut tar = Command::new("tar");
        assert_eq!(run(tar.current_dir(workdir.path("unpacked")).args(args)).code, 0);
    };
    tar(&["-xzf", "../one.tar.gz"]);
    let mut model = workdir.read("unpacked/one/model.safetensors");
    *model.last_mut().unwrap() ^= 1;
    workdir.write("unpacked/one/model.safetensors", model);
    tar(&["-czf", "../changed.tar.gz", "one"]);
    for (archive, expected) in [
        ("others.tar.gz", "the signature is not right"),
        ("cut.tar.gz", "is no bundle"),
        ("changed.tar.gz", "a checksum is not right"),
        ("nothing.tar.gz", "cannot be fetched"),
    ] {
        let output = update(&workdir, archive);
        assert_eq!(output.code, 1, "{archive}: {output:?}");
        assert!(output.stderr.contains(&format!("update: {expected}: ")), "{archive}: {output:?}");
        assert_eq!(current(&workdir), one);
        assert!(files(&workdir.path("board/current")) == working);
        assert!(
            !workdir.path("board/restarted").exists()
                && !workdir.path("board/releases/.update.part").exists()
        );
    }
    // Two are kept, the one in use and the one before.
    for (archive, samples) in [("two.tar.gz", "5"), ("three.tar.gz", "6")] {
        bundle(&workdir, archive, samples, "release");
        let before = current(&workdir);
        let output = update(&workdir, archive);
        assert_eq!(output.code, 0, "{output:?}");
        let releases = std::fs::read_dir(workdir.path("board/releases")).unwrap();
        let names: Vec<_> =
            releases.map(|e| format!("releases/{}", e.unwrap().file_name().display())).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&before) && names.contains(&current(&workdir)), "{names:?}");
    }
}
