//! SHA-256 of what a result depends on: data, teachers, networks.

use sha2::{Digest, Sha256};

/// Collects parts; each is hashed with its length, so that no two sequences of parts look alike.
pub struct Fingerprint(Sha256);

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

impl Fingerprint {
    /// Of no parts.
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds a part.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds numbers as one part.
    pub fn numbers(&mut self, numbers: impl ExactSizeIterator<Item = u64>) {
        self.0.update((numbers.len() as u64 * 8).to_le_bytes());
        numbers.for_each(|n| self.0.update(n.to_le_bytes()));
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// SHA-256 of `bytes` alone, as `sha256sum` prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_published_one() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }

    #[test]
    fn parts_are_kept_apart() {
        let of = |parts: &[&[u8]]| {
            let mut fingerprint = Fingerprint::new();
            for part in parts {
                fingerprint.bytes(part);
            }
            fingerprint.finish()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    }
}
