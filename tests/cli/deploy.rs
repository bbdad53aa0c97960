//! `deploy` to an sshd on this machine's loopback: it proves before it switches.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::runs::digits;
use crate::util::{Output, Workdir, files, run, skipped};

/// A board: sshd on a high port with keys of its own, and settings of ssh that lead there.
struct Board {
    workdir: Workdir,
    sshd: Child,
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

const SSHD: &str = "/usr/sbin/sshd";

impl Board {
    /// None, and said, where there is no sshd.
    fn start(test: &str) -> Option<Self> {
        for program in [SSHD, "/usr/bin/ssh", "/usr/bin/ssh-keygen"] {
            if !Path::new(program).is_file() {
                skipped(test, &format!("{program} is missing: apt-get install openssh-server"));
                return None;
            }
        }
        let workdir = Workdir::new();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(workdir.path(name));
            assert_eq!(run(&mut keygen).code, 0);
        }
        let public = workdir.read("user.pub");
        workdir.write("authorized_keys", public);
        // Nobody listens there now, and the next programs are given other ports.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| workdir.path(name).display().to_string();
        let sshd = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\n",
            path("host"),
            path("authorized_keys"),
        );
        workdir.write("sshd_config", sshd);
        let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
        let ssh = format!(
            "Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  BatchMode yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile {}\n",
            path("user"),
            path("known_hosts"),
        );
        workdir.write("ssh_config", ssh);
        // sshd of Debian wants the folder that its service makes.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut command = Command::new(SSHD);
        command.args(["-D", "-E", &path("sshd.log"), "-f", &path("sshd_config")]);
        let sshd = command.stdin(Stdio::null()).spawn().unwrap();
        let board = Self { workdir, sshd };
        let end = Instant::now() + Duration::from_mins(1);
        while !answers(port) {
            if Instant::now() > end {
                let log = std::fs::read_to_string(board.workdir.path("sshd.log"));
                skipped(test, &format!("sshd does not start: {log:?}"));
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(board)
    }

    /// The folder of the deployment.
    fn folder(&self) -> PathBuf {
        self.workdir.path("board's folder")
    }

    /// `hipflask deploy` of the bundle `name` in the folder.
    fn command(&self, bundle: &str) -> Command {
        let mut command = self.workdir.command();
        command
            .args(["deploy", bundle, "--host", "board", "--ssh-config", "ssh_config"])
            .args(["--runs", "20", "--folder"])
            .arg(self.folder());
        command
    }

    fn deploy(&self, bundle: &str, args: &[&str]) -> Output {
        run(self.command(bundle).args(args))
    }

    /// What `current` leads to, and what releases there are.
    fn state(&self) -> (Option<String>, Vec<String>) {
        let current = std::fs::read_link(self.folder().join("current")).ok();
        let releases = std::fs::read_dir(self.folder().join("releases")).into_iter().flatten();
        let mut names: Vec<_> =
            releases.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (current.map(|path| path.display().to_string()), names)
    }

    /// A copy of the digits' bundle, with golden samples so many.
    fn bundle(&self, name: &str, samples: &str) {
        let path = |name: &str| digits().path(name).display().to_string();
        let mut command = self.workdir.command();
        command.args(["bundle", &path("out/digits/student-int8.safetensors"), "-q"]);
        let output = run(command.args(["--samples", samples, "--out", name]));
        assert_eq!(output.code, 0, "{output:?}");
    }
}

/// Whether an SSH server is there: it speaks first.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut said = [0; 4];
    stream.read_exact(&mut said).is_ok() && &said == b"SSH-"
}

/// The name of a bundle's release: the beginning of its checksums' checksum.
fn release(bundle: &Path) -> String {
    hipflask::bundle::sums::hex(&std::fs::read(bundle.join("SHA256SUMS")).unwrap())[..12].into()
}

/// A program of this name that comes before the system's on the PATH.
///
/// Another process writes it: a file that this one had open for writing could not be run while
/// another test forks.
fn program(board: &Board, name: &str, script: &str) -> std::ffi::OsString {
    let folder = board.workdir.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("cat > {name} && chmod +x {name}")]).current_dir(&folder);
    let mut shell = shell.stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    let path = std::env::var_os("PATH").unwrap();
    let folders = [folder].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap()
}

#[test]
fn a_bundle_is_proven_on_the_board_and_then_in_use() {
    let Some(board) = Board::start("a_bundle_is_proven_on_the_board_and_then_in_use") else {
        return;
    };
    for (name, samples) in [("one", "3"), ("two", "4"), ("three.tar.gz", "5")] {
        board.bundle(name, samples);
    }
    let output = board.deploy("one", &["-q"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let one = release(&board.workdir.path("one"));
    assert!(output.stdout.starts_with("board: Linux "), "{output:?}");
    assert!(output.stdout.contains("\nverify  passed: 3 of 3 samples bits equal; "), "{output:?}");
    assert!(output.stdout.contains("\nbench   20 runs on "), "{output:?}");
    assert_eq!(board.state(), (Some(format!("releases/{one}")), vec![one.clone()]));
    assert!(files(&board.folder().join("current")) == files(&board.workdir.path("one")));
    // The second stands beside it, with the documents of the board's own verify and bench.
    let output = board.deploy("two", &["--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let two = release(&board.workdir.path("two"));
    let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&said["release"], &said["before"]), (&two.as_str().into(), &one.as_str().into()));
    assert_eq!((&said["passed"], &said["verify"]["equal"]), (&true.into(), &4.into()), "{said}");
    assert_eq!(said["bench"]["runs"], 20, "{said}");
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(board.state(), (Some(format!("releases/{two}")), both));
    // The third, an archive, ends the first.
    let output = board.deploy("three.tar.gz", &["-q"]);
    assert_eq!(output.code, 0, "{output:?}");
    let (current, releases) = board.state();
    assert_eq!(releases.len(), 2, "{releases:?}");
    assert!(releases.contains(&two) && !releases.contains(&one), "{releases:?}");
    let verified = files(&board.folder().join("current"));
    assert!(
        verified["model.safetensors"] == files(&board.workdir.path("two"))["model.safetensors"]
    );
    // Back to the second, which is there: nothing is copied.
    let output = board.deploy("two", &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(said["copied"], serde_json::Value::Null, "{said}");
    assert_eq!(board.state(), (Some(format!("releases/{two}")), releases));
    assert_ne!(current, board.state().0);
}

#[test]
fn without_rsync_the_bundle_goes_through_ssh() {
    let Some(board) = Board::start("without_rsync_the_bundle_goes_through_ssh") else { return };
    board.bundle("one", "3");
    // Only ssh is there on this side.
    let bin = board.workdir.path("only");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/usr/bin/ssh", bin.join("ssh")).unwrap();
    let output = run(board.command("one").arg("--json").env("PATH", &bin));
    assert_eq!(output.code, 0, "{output:?}");
    let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(said["copied"], "tar");
    assert!(files(&board.folder().join("current")) == files(&board.workdir.path("one")));
}

#[test]
fn what_does_not_arrive_whole_replaces_nothing() {
    let test = "what_does_not_arrive_whole_replaces_nothing";
    let Some(board) = Board::start(test) else { return };
    if !Path::new("/usr/bin/rsync").is_file() {
        return skipped(test, "rsync is missing");
    }
    board.bundle("one", "3");
    board.bundle("two", "4");
    assert_eq!(board.deploy("one", &["-q"]).code, 0);
    let before = board.state();
    let working = files(&board.folder().join("current"));
    let part = format!("releases/.{}.part", release(&board.workdir.path("two")));
    // A byte changes on the way.
    let file = board.folder().join(&part).join("model.safetensors");
    let damage = format!(
        "/usr/bin/rsync \"$@\" && printf x | dd of=\"{}\" bs=1 seek=9000 conv=notrunc 2> /dev/null",
        file.display()
    );
    let path = program(&board, "rsync", &damage);
    let output = run(board.command("two").arg("-q").env("PATH", &path));
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(output.stderr.contains("model.safetensors: FAILED"), "{output:?}");
    assert_eq!(board.state().0, before.0);
    // The connection breaks in the middle.
    let path = program(&board, "rsync", "echo 'connection closed' >&2; exit 12");
    let output = run(board.command("two").arg("-q").env("PATH", &path));
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("connection closed"), "{output:?}");
    assert_eq!(board.state().0, before.0);
    assert!(files(&board.folder().join("current")) == working);
    // And when it is there, what was damaged is put right.
    let output = board.deploy("two", &["-q"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(files(&board.folder().join("current")) == files(&board.workdir.path("two")));
}

#[test]
fn a_model_with_other_answers_there_is_not_put_in_use() {
    let Some(board) = Board::start("a_model_with_other_answers_there_is_not_put_in_use") else {
        return;
    };
    board.bundle("one", "3");
    board.bundle("two", "4");
    assert_eq!(board.deploy("one", &["-q"]).code, 0);
    let before = board.state().0;
    // Golden samples that promise another answer, with a right sum: as a board that computes wrongly.
    let mut golden = board.workdir.read("two/golden.safetensors");
    let values = golden.len();
    golden[values - 200..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
    board.workdir.write("two/golden.safetensors", &golden);
    let refused = board.deploy("two", &["-q"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("golden.safetensors: is not what its checksum says"),
        "{refused:?}"
    );
    let sums = String::from_utf8(board.workdir.read("two/SHA256SUMS")).unwrap();
    let sums: String = sums
        .lines()
        .map(|line| {
            if line.ends_with("  golden.safetensors") {
                format!("{}  golden.safetensors\n", hipflask::bundle::sums::hex(&golden))
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    board.workdir.write("two/SHA256SUMS", sums);
    let output = board.deploy("two", &["-q"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("verify  FAILED: "), "{output:?}");
    assert!(output.stdout.contains("as before; what failed is "), "{output:?}");
    assert_eq!(board.state().0, before);
}

#[test]
fn a_program_for_another_machine_is_not_put_in_use() {
    let Some(board) = Board::start("a_program_for_another_machine_is_not_put_in_use") else {
        return;
    };
    board.bundle("one", "3");
    let model = digits().path("out/digits/student-int8.safetensors").display().to_string();
    let golden = digits().path("out/digits/golden.safetensors").display().to_string();
    let mut program = vec![0; 64];
    program[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
    board.workdir.write("other", program);
    let args = ["--golden", &golden, "--binary", "other", "--target", "aarch64-unknown-linux-musl"];
    let args = [&["bundle", &model, "--out", "two", "-q"], &args[..]].concat();
    if cfg!(target_arch = "aarch64") {
        return skipped("a_program_for_another_machine", "this machine is the other");
    }
    board.workdir.ok(&args);
    assert_eq!(board.deploy("one", &["-q"]).code, 0);
    let before = board.state().0;
    let output = board.deploy("two", &["-q"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(output.stderr.contains("cannot verify there"), "{output:?}");
    assert_eq!(board.state().0, before);
}

#[test]
fn a_board_with_allowed_signers_takes_signed_bundles_only() {
    let Some(board) = Board::start("a_board_with_allowed_signers_takes_signed_bundles_only") else {
        return;
    };
    board.bundle("one", "3");
    let model = digits().path("out/digits/student-int8.safetensors").display().to_string();
    let sign = ["bundle", &model, "--samples", "3", "--sign", "user", "--out", "signed", "-q"];
    board.workdir.ok(&sign);
    let public = String::from_utf8(board.workdir.read("user.pub")).unwrap();
    let signers = |key: &str| {
        std::fs::create_dir_all(board.folder()).unwrap();
        let line = format!("hipflask namespaces=\"hipflask\" {key}");
        std::fs::write(board.folder().join("allowed_signers"), line).unwrap();
    };
    signers(&public);
    let output = board.deploy("one", &["-q"]);
    assert_eq!((output.code, board.state().0), (2, None), "{output:?}");
    let expected = "board: what arrived is not the bundle (Couldn't read signature file";
    assert!(output.stderr.contains(expected), "{output:?}");
    let output = board.deploy("signed", &["-q"]);
    assert_eq!(output.code, 0, "{output:?}");
    let now = board.state().0;
    signers(&String::from_utf8(board.workdir.read("host.pub")).unwrap());
    let again = ["bundle", &model, "--samples", "4", "--sign", "user", "--out", "again", "-q"];
    board.workdir.ok(&again);
    let output = board.deploy("again", &["-q"]);
    assert_eq!((output.code, board.state().0), (2, now), "{output:?}");
    // The desk can ask for the signature too: then nothing is copied.
    let output = board.deploy("again", &["-q", "--public-key", "host.pub"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("is not signed by host.pub"), "{output:?}");
}

#[test]
fn what_is_no_host_or_folder_or_bundle_is_refused() {
    let workdir = Workdir::new();
    let bundle = digits().path("out/digits/bundle").display().to_string();
    let error = workdir.refused(&["deploy", &bundle, "--host=-oProxyCommand=touch hacked"]);
    assert!(error.contains("is no host"), "{error}");
    let error = workdir.refused(&["deploy", &bundle, "--host", "x", "--folder", "~other/x"]);
    assert!(error.contains("--folder"), "{error}");
    let error = workdir.refused(&["deploy", "nowhere", "--host", "x"]);
    assert!(error.contains("nowhere: cannot be read"), "{error}");
    let error = workdir.refused(&["deploy", ".", "--host", "x"]);
    assert!(error.contains("is no bundle"), "{error}");
    let unreachable = ["deploy", &bundle, "--host", "board.invalid", "--ssh-config", "none"];
    workdir.write("none", "");
    let error = workdir.refused(&unreachable);
    assert!(error.contains("board.invalid: cannot be reached by ssh"), "{error}");
}
