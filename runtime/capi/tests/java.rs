//! `examples/android` without Android: its JNI code, built by the system's compiler, in the desk's Java.
#![cfg(all(unix, not(target_family = "wasm")))]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use hipflask_runtime::golden::Golden;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of `jni.h`: of `JAVA_HOME`, or of the `javac` in the path.
fn jni() -> Option<PathBuf> {
    let of_path = || {
        let folders = std::env::var_os("PATH")?;
        let javac = std::env::split_paths(&folders)
            .find_map(|folder| folder.join("javac").canonicalize().ok())?;
        Some(javac.parent()?.parent()?.to_path_buf())
    };
    let home = std::env::var_os("JAVA_HOME").map(PathBuf::from).or_else(of_path)?;
    Some(home.join("include")).filter(|include| include.join("jni.h").is_file())
}

/// The static library, which cargo builds before this test, in the folder above this program's.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let mut found = program.ancestors().map(|folder| folder.join("libhipflask_c.a"));
    found.find(|path| path.is_file()).expect("libhipflask_c.a beside the tests")
}

/// Runs a program to its end; what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}

fn write_floats(path: &Path, samples: &[Vec<f32>]) {
    let bytes: Vec<u8> = samples.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is not a pass")]
fn java_computes_the_recorded_bits() {
    let Some(include) = jni() else {
        eprintln!("skipped: java: no JDK with jni.h, by JAVA_HOME or javac in the path");
        return;
    };
    let android = folder().join("../../examples/android");
    let to = tempfile::tempdir().unwrap();
    let to = to.path();
    let platform = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let name =
        format!("libhipflask_jni.{}", if cfg!(target_os = "macos") { "dylib" } else { "so" });
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    run(Command::new(compiler)
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-fPIC", "-shared"])
        .arg("-I")
        .arg(folder().join("include"))
        .arg("-I")
        .arg(&include)
        .arg("-I")
        .arg(include.join(platform))
        .arg(android.join("cpp/hipflask_jni.cpp"))
        .arg(library())
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(to.join(name)));
    let java = include.parent().unwrap().join("bin");
    run(Command::new(java.join("javac"))
        .args(["-Xlint:all", "-Werror", "-d"])
        .arg(to)
        .args(
            ["Model", "HipflaskException"]
                .map(|name| android.join(format!("java/dev/hipflask/{name}.java"))),
        )
        .arg(android.join("desk/Check.java")));
    for network in ["depthwise", "residual"] {
        let golden = folder().join(format!("../tests/golden/{network}.golden.safetensors"));
        let golden = Golden::from_bytes(&std::fs::read(golden).unwrap()).unwrap();
        let (inputs, outputs) = (to.join("inputs.f32"), to.join("outputs.f32"));
        write_floats(&inputs, &golden.inputs);
        write_floats(&outputs, &golden.outputs);
        let printed = run(Command::new(java.join("java"))
            .arg("-Xcheck:jni")
            .arg(format!("-Djava.library.path={}", to.display()))
            .arg("-cp")
            .arg(to)
            .arg("Check")
            .arg(folder().join(format!("../tests/golden/{network}.safetensors")))
            .args([inputs, outputs]));
        assert_eq!(printed, "8 of 8 samples with equal bits\n", "{network}");
    }
}
