//! Bundles for other machines: really built, and proven under emulation of their CPUs.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use hipflask::bundle::target::{BOARDS, Board, Machine, Target};

use crate::runs::digits;
use crate::util::{Output, Workdir, files, run, skipped};

/// The bundle of the digits' int8 student in the folder `board`; none where it cannot be built here.
fn bundle(test: &str, target: &[&str]) -> Option<Workdir> {
    let workdir = Workdir::new();
    let path = |name: &str| digits().path(name).display().to_string();
    let model = path("out/digits/student-int8.safetensors");
    let golden = path("out/digits/golden.safetensors");
    let args = ["bundle", &model, "--golden", &golden, "--out", "board", "-q"];
    let output = workdir.run(&[&args, target].concat());
    if output.code == 2 && output.stderr.contains("for want of") {
        skipped(test, output.stderr.trim());
        return None;
    }
    assert_eq!(output.code, 0, "{target:?}: {output:?}");
    Some(workdir)
}

/// Whether a program can be started; else says that `test` is skipped.
fn is_there(test: &str, program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skipped(test, &format!("{program} is missing"));
    }
    there
}

/// `hipflask-run verify` of the bundle under qemu as `cpu`.
fn verify(bundle: &Path, qemu: &str, cpu: &str) -> Output {
    let mut command = Command::new(qemu);
    command.current_dir(bundle).env("QEMU_CPU", cpu).env_remove("HIPFLASK_ISA");
    run(command.args(["./hipflask-run", "verify", "model.safetensors", "golden.safetensors"]))
}

/// Every bit is the desk's on each of `cpus`, by the code path named with it, and a flipped bit is
/// noticed there too.
fn proves_itself(workdir: &Workdir, qemu: &str, cpus: &[(&str, &str)]) {
    let folder = workdir.path("board");
    for (cpu, isa) in cpus {
        let output = verify(&folder, qemu, cpu);
        assert_eq!(output.code, 0, "{cpu}: {output:?}");
        let expected = format!("passed: 32 of 32 samples bits equal on {isa};");
        assert!(output.stdout.starts_with(&expected), "{cpu}: {output:?}");
    }
    let mut model = workdir.read("board/model.safetensors");
    *model.last_mut().unwrap() ^= 1;
    workdir.write("board/model.safetensors", model);
    assert_ne!(verify(&folder, qemu, cpus[0].0).code, 0);
}

/// Asks nothing of the board: no C library, no loader.
fn is_static(program: &[u8]) -> bool {
    // PT_INTERP's content in every dynamic program of Linux.
    !program.windows(8).any(|part| part == b"/lib/ld-")
}

#[test]
fn an_aarch64_bundle_proves_itself_on_every_raspberry_pi() {
    let test = "an_aarch64_bundle_proves_itself_on_every_raspberry_pi";
    if !is_there(test, "qemu-aarch64-static") {
        return;
    }
    let Some(workdir) = bundle(test, &["--board", "pi-zero-2"]) else { return };
    let program = workdir.read("board/hipflask-run");
    assert!(is_static(&program) && program.len() <= 3 << 19, "{} bytes", program.len());
    let is_pi = |board: &&Board| {
        Target::of(board.triple).unwrap().is_some_and(|t| t.machine == Machine::Aarch64)
            && board.isa.is_some()
    };
    let boards = BOARDS.iter().filter(is_pi);
    let cpus: Vec<_> = boards.map(|board| (board.cpu, board.isa.unwrap())).collect();
    assert_eq!(cpus.len(), 4);
    proves_itself(&workdir, "qemu-aarch64-static", &cpus);
}

#[test]
fn an_armv7_bundle_proves_itself_on_32_bit_systems() {
    let test = "an_armv7_bundle_proves_itself_on_32_bit_systems";
    if !is_there(test, "qemu-arm-static") {
        return;
    }
    let target = ["--target", "armv7-unknown-linux-gnueabihf"];
    let Some(workdir) = bundle(test, &target) else { return };
    assert!(is_static(&workdir.read("board/hipflask-run")));
    proves_itself(&workdir, "qemu-arm-static", &[("cortex-a7", "armv7neon"), ("max", "armv7neon")]);
}

#[test]
fn a_page_computes_the_same_bits() {
    let test = "a_page_computes_the_same_bits";
    if !is_there(test, "node") {
        return;
    }
    let Some(workdir) = bundle(test, &["--board", "browser"]) else { return };
    let names: Vec<_> = files(&workdir.path("board")).into_keys().collect();
    assert!(names.contains(&"hipflask.wasm".into()) && !names.contains(&"hipflask-run".into()));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&workdir.read("board/hipflask.wasm")).unwrap();
    let packed = gzip.finish().unwrap().len();
    assert!(packed <= 300 << 10, "{packed} bytes");
    let verify = || {
        let mut node = Command::new("node");
        node.current_dir(workdir.path("board")).env("NODE_NO_WARNINGS", "1");
        run(node.args(["verify.mjs", "model.safetensors", "golden.safetensors"]))
    };
    let output = verify();
    assert_eq!(output.code, 0, "{output:?}");
    let verdict: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&verdict["samples"], &verdict["equal"]), (&32.into(), &32.into()), "{verdict}");
    assert_eq!(verdict["exact"], true);
    // What the desk's binary says of the same samples.
    let desk = digits().path("out/digits/bundle");
    let mut command = Command::new(desk.join("hipflask-run"));
    command.current_dir(&desk);
    let desk = run(command.args(["verify", "model.safetensors", "golden.safetensors", "--json"]));
    let desk: serde_json::Value = serde_json::from_str(&desk.stdout).unwrap();
    assert_eq!(verdict["accuracy"], desk["accuracy"]);
    assert_eq!(verdict["agreement"], desk["agreement"]);
    // A weight that differs, and a header that is none.
    let whole = workdir.read("board/model.safetensors");
    let mut model = whole.clone();
    *model.last_mut().unwrap() ^= 0x40;
    workdir.write("board/model.safetensors", model);
    assert_eq!(verify().code, 1);
    workdir.write("board/model.safetensors", &whole[..whole.len() / 2]);
    let output = verify();
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(
        output.stderr.starts_with("error: ") && output.stderr.contains("cut short"),
        "{output:?}"
    );
}
