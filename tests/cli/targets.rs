//! Which tool builds for another machine, and what is said where none can: with tools that only pretend.
#![cfg(unix)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::util::{Output, Workdir, files, rows_model_int8, run};

/// A folder with a model, golden samples, and an empty folder `bin` that alone is on the PATH.
fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("model.safetensors", rows_model_int8());
    workdir.write("golden.safetensors", b"of no concern here");
    std::fs::create_dir(workdir.path("bin")).unwrap();
    workdir
}

/// A builder: notes how it was called, and writes a program for AArch64 where cargo would.
const BUILDER: &str = r#"
echo "$(basename "$0") $* RUSTFLAGS=$RUSTFLAGS" >> called
while [ $# -gt 0 ]; do
  case "$1" in --target) triple=${2%.2.17} ;; --target-dir) folder=$2 ;; esac
  shift
done
if [ -n "$folder" ]; then
  mkdir -p "$folder/$triple/dist"
  printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\267\000of the builder' \
    > "$folder/$triple/dist/hipflask-run"
fi
"#;

/// Puts programs of these names on the PATH. `rustc` has the standard library of every target.
///
/// Another process writes them: a file that this one had open for writing could not be run while
/// another test forks.
fn tools(workdir: &Workdir, names: &[&str]) {
    for name in names {
        let folder = workdir.path("");
        let (folder, body) = (folder.display(), if *name == "rustc" { "pwd" } else { BUILDER });
        let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin\ncd '{folder}'\n{body}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("cat > bin/{name} && chmod +x bin/{name}")]);
        let mut shell = shell.current_dir(workdir.path("")).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }
}

/// `hipflask bundle` with these arguments and no tools but those in `bin`.
fn bundle(workdir: &Workdir, args: &[&str]) -> Output {
    let mut command = workdir.command();
    for variable in ["CARGO", "RUSTC", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"] {
        command.env_remove(variable);
    }
    command
        .args(["bundle", "model.safetensors", "--golden", "golden.safetensors", "-q"])
        .args(args)
        .env("PATH", workdir.path("bin"))
        .env("CARGO_TARGET_DIR", workdir.path("built"))
        .env("RUSTFLAGS", "-Ctarget-cpu=native");
    run(&mut command)
}

/// How the builder was called, when `bundle` with these arguments was done with these tools.
fn called(names: &[&str], args: &[&str]) -> String {
    let workdir = workdir();
    tools(&workdir, names);
    let output = bundle(&workdir, args);
    assert_eq!(output.code, 0, "{output:?}");
    String::from_utf8(workdir.read("called")).unwrap()
}

/// What `bundle` complains about with these tools.
fn refused(names: &[&str], args: &[&str]) -> String {
    let workdir = workdir();
    tools(&workdir, names);
    let output = bundle(&workdir, &[args, &["--out", "board"]].concat());
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(!workdir.path("board/model.safetensors").exists());
    output.stderr
}

const GNU: [&str; 2] = ["--target", "aarch64-unknown-linux-gnu"];

#[test]
fn cargo_with_the_usual_linker_comes_first() {
    let all = ["rustc", "cargo", "aarch64-linux-gnu-gcc", "cargo-zigbuild", "cross", "docker"];
    let said = called(&all, &GNU);
    assert!(
        said.starts_with("cargo build --locked --profile dist --target aarch64-unknown-linux-gnu "),
        "{said}"
    );
    assert!(
        said.contains("target.aarch64-unknown-linux-gnu.linker=\"aarch64-linux-gnu-gcc\""),
        "{said}"
    );
    assert!(said.contains("-Ctarget-feature=+crt-static"), "{said}");
    // What fits this machine need not fit the board.
    assert!(said.ends_with("RUSTFLAGS=\n"), "{said}");
}

#[test]
fn musl_needs_no_linker_but_rustcs() {
    let said = called(&["rustc", "cargo"], &["--board", "pi-4"]);
    assert!(said.contains("--target aarch64-unknown-linux-musl "), "{said}");
    assert!(said.contains("linker=\"rust-lld\"") && !said.contains("crt-static"), "{said}");
}

#[test]
fn zig_stands_in_for_a_missing_linker() {
    let said = called(&["rustc", "cargo", "cargo-zigbuild", "cross", "docker"], &GNU);
    let (asked, built) = said.split_once('\n').unwrap();
    assert!(asked.starts_with("cargo-zigbuild zig version"), "{said}");
    assert!(built.starts_with("cargo-zigbuild zigbuild "), "{said}");
    assert!(built.contains("--target aarch64-unknown-linux-gnu.2.17 "), "{said}");
    assert!(!built.contains("crt-static"), "{said}");
}

#[test]
fn cross_stands_in_for_a_missing_standard_library_where_there_are_containers() {
    let said = called(&["cargo", "cross", "podman"], &GNU);
    assert!(said.starts_with("cross build ") && said.contains("crt-static"), "{said}");
    let error = refused(&["cargo", "cross"], &GNU);
    assert!(error.contains("rustup target add aarch64-unknown-linux-gnu"), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_installs_it() {
    let android = ["--board", "android"];
    let armv7 = ["--target", "armv7-unknown-linux-gnueabihf"];
    let cases: [(&[&str], &[&str], &[&str]); 5] = [
        (&[], &["--board", "pi-5"], &["rustup target add aarch64-unknown-linux-musl", "--binary"]),
        (
            &["rustc", "cargo"],
            &GNU,
            &[
                "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
                "pip install cargo-zigbuild",
                "cargo install cross",
                "aarch64-unknown-linux-musl needs no linker",
            ],
        ),
        (&["rustc", "cargo"], &armv7, &["apt-get install gcc-arm-linux-gnueabihf"]),
        (&["rustc", "cargo", "cargo-zigbuild"], &android, &["NDK", "ANDROID_NDK_HOME"]),
        (
            &["cross", "docker"],
            &["--board", "browser"],
            &["rustup target add wasm32-unknown-unknown"],
        ),
    ];
    for (names, args, expected) in cases {
        let error = refused(names, args);
        for part in expected {
            assert!(error.contains(part), "{names:?} {args:?}: {part:?} in {error}");
        }
        let std_is_there = names.contains(&"rustc");
        assert_eq!(error.contains("rustup"), !std_is_there, "{names:?} {args:?}: {error}");
    }
}

#[test]
fn the_ndk_is_found_by_its_folder() {
    let workdir = workdir();
    tools(&workdir, &["rustc", "cargo", "clang"]);
    let programs = workdir.path("ndk/toolchains/llvm/prebuilt/linux-x86_64/bin");
    std::fs::create_dir_all(&programs).unwrap();
    let linker = programs.join("aarch64-linux-android24-clang");
    std::fs::rename(workdir.path("bin/clang"), &linker).unwrap();
    let mut command = workdir.command();
    command
        .args(["bundle", "model.safetensors", "--golden", "golden.safetensors", "-q"])
        .args(["--board", "android", "--out", "phone"])
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env("PATH", workdir.path("bin"))
        .env("CARGO_TARGET_DIR", workdir.path("built"))
        .env("ANDROID_NDK_HOME", workdir.path("ndk"));
    let output = run(&mut command);
    assert_eq!(output.code, 0, "{output:?}");
    let said = String::from_utf8(workdir.read("called")).unwrap();
    assert!(said.contains(&format!("linker=\"{}\"", linker.display())), "{said}");
    let readme = String::from_utf8(workdir.read("phone/README.txt")).unwrap();
    assert!(readme.contains("adb push"), "{readme}");
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let error = refused(&["rustc", "cargo"], &["--target", "x86_64-unknown-linux-musl"]);
    if hipflask::bundle::target::NATIVE != "x86_64-unknown-linux-musl" {
        assert!(error.contains("is no program for x86_64-unknown-linux-musl"), "{error}");
    }
    let given = ["--target", "armv7-unknown-linux-gnueabihf", "--binary", "model.safetensors"];
    let error = refused(&[], &given);
    assert!(error.contains("is no program for armv7-unknown-linux-gnueabihf"), "{error}");
}

#[test]
fn names_that_are_no_target_or_board_are_refused_with_those_that_are() {
    let error = refused(&[], &["--target", "riscv64gc-unknown-linux-gnu"]);
    assert!(error.contains("riscv64gc-unknown-linux-gnu: no target"), "{error}");
    assert!(error.contains("aarch64-unknown-linux-musl") && error.contains("pi-zero-2"), "{error}");
    let error = refused(&[], &["--board", "pi-9"]);
    assert!(error.contains("--board") && error.contains("pi-5"), "{error}");
    let error = refused(&[], &["--board", "pi-4", "--target", "native"]);
    assert!(error.contains("cannot be used with"), "{error}");
}

/// The files of a `.tar.gz` with their modes.
fn unpack(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        let name = entry.path().unwrap().display().to_string();
        (name, entry.header().mode().unwrap(), bytes)
    });
    entries.collect()
}

#[test]
fn an_archive_holds_the_folders_files_and_is_the_same_bytes_again() {
    let workdir = workdir();
    tools(&workdir, &["rustc", "cargo"]);
    for out in ["board", "board.tar.gz", "again/board.tar.gz"] {
        let output = bundle(&workdir, &["--board", "pi-3", "--out", out]);
        assert_eq!(output.code, 0, "{output:?}");
        let expected =
            " bytes for aarch64-unknown-linux-musl; README.txt in it says what comes next\n";
        assert!(output.stdout.starts_with(&format!("{out}: ")), "{output:?}");
        assert!(output.stdout.ends_with(expected), "{output:?}");
    }
    assert!(workdir.read("board.tar.gz") == workdir.read("again/board.tar.gz"));
    let packed = unpack(&workdir.read("board.tar.gz"));
    for (name, mode, _) in &packed {
        let expected = if name == "board/hipflask-run" { 0o755 } else { 0o644 };
        assert_eq!(*mode, expected, "{name}");
    }
    let packed: std::collections::BTreeMap<_, _> = packed
        .into_iter()
        .map(|(name, _, bytes)| (name.strip_prefix("board/").unwrap().to_string(), bytes))
        .collect();
    assert!(packed == files(&workdir.path("board")));
    assert!(packed["hipflask-run"].ends_with(b"of the builder"));
    let readme = String::from_utf8(packed["README.txt"].clone()).unwrap();
    assert!(
        readme.contains("For Raspberry Pi 3 (cortex-a53), aarch64-unknown-linux-musl"),
        "{readme}"
    );
}
