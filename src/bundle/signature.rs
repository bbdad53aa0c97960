//! `SHA256SUMS.sig`: an ed25519 signature of the checksums, by `ssh-keygen -Y` (OpenSSH 8.1 or later;
//! format: PROTOCOL.sshsig). `docs/deploy.md` says why not by a library.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::{Bundle, File, SIGNATURE, SUMS};

/// What a signature is for, so that one made for something else counts for nothing.
const NAMESPACE: &str = "hipflask";
/// Who signs, for `ssh-keygen`; the key alone decides.
const SIGNER: &str = "hipflask";
/// Kinds of keys whose signatures count: in a file, and in a hardware token.
const KINDS: [&str; 2] = ["ssh-ed25519", "sk-ssh-ed25519@openssh.com"];

impl Bundle {
    /// Adds the signature of the checksums by the ed25519 key in the file `key`, or in the agent when
    /// that is a public key.
    pub fn sign(&mut self, key: &Path) -> Result<()> {
        let place = key.display();
        if !key.is_file() {
            bail!("{place}: there is no such key: make one with ssh-keygen -t ed25519 -f {place}");
        }
        let shown = keygen(&[&"-l", &"-f", &key], &[])?;
        let text = String::from_utf8_lossy(&shown.stdout);
        let fits = ["(ED25519)", "(ED25519-SK)"].iter().any(|kind| text.trim_end().ends_with(kind));
        if !shown.status.success() || !fits {
            bail!(
                "{place}: is no ed25519 key that ssh-keygen can read{}: make one with ssh-keygen -t \
                 ed25519",
                said(&shown)
            );
        }
        let signed =
            keygen(&[&"-q", &"-Y", &"sign", &"-n", &NAMESPACE, &"-f", &key], self.bytes_of(SUMS)?)?;
        if !signed.status.success() || signed.stdout.is_empty() {
            bail!("{place}: ssh-keygen cannot sign with it{}", said(&signed));
        }
        self.files.push(File { name: SIGNATURE.into(), bytes: signed.stdout, executable: false });
        Ok(())
    }

    /// Whether one of the keys in the file `public_key` signed the checksums; without a signature
    /// none did.
    pub fn is_signed_by(&self, public_key: &Path) -> Result<bool> {
        let signers = allowed_signers(public_key)?;
        let Some(signature) = self.find(SIGNATURE) else { return Ok(false) };
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let (allowed, file) =
            (folder.path().join("allowed_signers"), folder.path().join(SIGNATURE));
        let written =
            std::fs::write(&allowed, signers).and_then(|()| std::fs::write(&file, signature));
        written.context("the temporary folder cannot be written to")?;
        let verified = keygen(
            &[&"-Y", &"verify", &"-n", &NAMESPACE, &"-I", &SIGNER, &"-f", &allowed, &"-s", &file],
            self.bytes_of(SUMS)?,
        )?;
        Ok(verified.status.success())
    }
}

/// The file of allowed signers for `ssh-keygen -Y verify` with the keys in a `.pub` file, one a line.
fn allowed_signers(public_key: &Path) -> Result<String> {
    let place = public_key.display();
    let text = std::fs::read_to_string(public_key)
        .with_context(|| format!("{place}: the public key cannot be read"))?;
    let mut signers = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(kind), Some(key)) if KINDS.contains(&kind) => {
                signers += &format!("{SIGNER} namespaces=\"{NAMESPACE}\" {kind} {key}\n");
            }
            _ => bail!(
                "{place}: is no public ed25519 key of ssh-keygen, which begins with ssh-ed25519: give \
                 the .pub file of the key that signs"
            ),
        }
    }
    if signers.is_empty() {
        bail!("{place}: has no public key in it");
    }
    Ok(signers)
}

/// Runs `ssh-keygen` with `input` on its stdin.
fn keygen(args: &[&dyn AsRef<std::ffi::OsStr>], input: &[u8]) -> Result<Output> {
    let mut command = Command::new("ssh-keygen");
    for arg in args {
        command.arg(arg);
    }
    let started =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.context(
        "ssh-keygen cannot be started, which makes and checks signatures: install OpenSSH 8.1 or \
         later (apt-get install openssh-client)",
    )?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where it stops reading it says why on stderr.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().context("ssh-keygen has gone")
}

/// What it said, as the end of a sentence.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => String::new(),
        text => format!(" ({})", text.replace('\n', "; ")),
    }
}
