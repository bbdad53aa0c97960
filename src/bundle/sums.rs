//! `SHA256SUMS`: the checksums of a bundle's files, as `sha256sum` writes and checks them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::File;

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
