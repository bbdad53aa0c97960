//! `SHA256SUMS`: the checksums of a bundle's files, as `sha256sum` writes and checks them.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::{Bundle, File, SIGNATURE, SUMS};

/// The checksums of `files`.
pub fn of(files: &[File]) -> String {
    files.iter().fold(String::new(), |mut text, file| {
        let _ = writeln!(text, "{}  {}", hex(&file.bytes), file.name);
        text
    })
}

/// SHA-256 in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is wrong with the files of `bundle`, a sentence each: missing, other than its sum says, or
/// without a sum. An error where the sums themselves cannot be read.
pub fn check(bundle: &Bundle) -> Result<Vec<String>> {
    let text = bundle.bytes_of(SUMS)?;
    let promised = parse(text)?;
    let mut wrong = Vec::new();
    for (sum, name) in &promised {
        match bundle.files.iter().find(|file| file.name == *name) {
            None => wrong.push(format!("{name}: is missing")),
            Some(file) if hex(&file.bytes) != *sum => {
                wrong.push(format!("{name}: is not what its checksum says"));
            }
            Some(_) => {}
        }
    }
    for file in &bundle.files {
        let is_known = [SUMS, SIGNATURE].contains(&&*file.name)
            || promised.iter().any(|(_, name)| *name == file.name);
        if !is_known {
            wrong.push(format!("{}: has no checksum", file.name));
        }
    }
    Ok(wrong)
}

/// Sums and names of the file's lines.
fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let digits = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match line.split_once("  ") {
            Some((sum, name)) if digits(sum) && is_plain(name) => {
                found.push((sum.to_ascii_lowercase(), name.to_string()));
            }
            _ => bail!(
                "{SUMS}: line {}: is no SHA-256 sum with the name of a file in the bundle: make the \
                 bundle again",
                i + 1
            ),
        }
    }
    if found.is_empty() {
        bail!("{SUMS}: is empty: make the bundle again");
    }
    Ok(found)
}

/// Whether `name` is a file's own, which leads to no other folder and is no program's flag.
pub fn is_plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    name.bytes().all(allowed) && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}
