//! The C examples, built by the system's compiler against the header and the static library.
#![cfg(all(unix, not(target_family = "wasm")))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hipflask_runtime::golden::Golden;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A network of the runtime's golden files.
fn network() -> PathBuf {
    folder().join("../tests/golden/depthwise.safetensors")
}

/// The static library, which cargo builds before this test, in the folder above this program's.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let found = program.ancestors().map(|folder| folder.join("libhipflask_c.a"));
    found.into_iter().find(|path| path.is_file()).expect("libhipflask_c.a beside the tests")
}

/// Builds an example as C99, where a warning is an error.
fn build(name: &str, to: &Path) -> PathBuf {
    let program = to.join(name);
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-I"])
        .arg(folder().join("include"))
        .arg(folder().join(format!("examples/{name}.c")))
        .arg(library())
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(&program)
        .output()
        .expect("a C compiler: install one, or name it in CC");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The bits that were recorded on another machine, read back from C's hexadecimal floats.
#[test]
fn a_c_program_computes_the_recorded_bits() {
    let to = tempfile::tempdir().unwrap();
    let program = build("predict", to.path());
    let golden = folder().join("../tests/golden/depthwise.golden.safetensors");
    let golden = Golden::from_bytes(&std::fs::read(golden).unwrap()).unwrap();
    for (i, (input, wanted)) in golden.inputs.iter().zip(&golden.outputs).enumerate() {
        let sample = to.path().join(format!("{i}.f32"));
        let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&sample, bytes).unwrap();
        let run = Command::new(&program).arg(network()).arg(&sample).arg("7").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let shown = text(&run);
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some("input: 1 23 19 1"));
        let mut found = vec![f32::NAN; wanted.len()];
        for line in lines {
            let [class, label, score] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            assert_eq!(label, "-");
            found[class.parse::<usize>().unwrap()] = hexadecimal(score);
        }
        assert_eq!(found, *wanted, "sample {i}");
    }
}

/// `0x1.8p-3`
fn hexadecimal(text: &str) -> f32 {
    let (mantissa, exponent) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap() as f64;
    let shift = exponent.parse::<i32>().unwrap() - 4 * fraction.len() as i32;
    (digits * 2_f64.powi(shift)) as f32
}

#[test]
fn what_c_may_do_wrong_is_refused_with_a_sentence() {
    let to = tempfile::tempdir().unwrap();
    let run = Command::new(build("refused", to.path())).arg(network()).output().unwrap();
    let wanted = format!("ok {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((text(&run), run.status.code()), (wanted, Some(0)));
}
