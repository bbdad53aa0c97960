//! Image files that need no library: binary PGM and PPM (netpbm), and raw bytes.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::format;
use alloc::string::String;

use crate::{Error, ErrorKind, Result};

/// The `h · w · c` bytes, in that order, of a PGM (`P5`), PPM (`P6`) or raw file.
///
/// The size must be exactly `[h, w, c]`: resizing is left to the caller, because it changes answers.
pub fn decode(file: &[u8], [h, w, c]: [usize; 3]) -> Result<&[u8]> {
    let wanted = h.saturating_mul(w).saturating_mul(c);
    let (size, pixels) = match file.get(..2) {
        Some(b"P5" | b"P6") => netpbm(file)?,
        _ => (None, file),
    };
    if let Some(size) = size.filter(|&size| size != [h, w, c]) {
        let [ih, iw, ic] = size;
        return Err(refused(format!(
            "the image is {iw}×{ih} with {ic} channels, the model takes {w}×{h} with {c}: convert it first"
        )));
    }
    if pixels.len() != wanted {
        return Err(refused(format!(
            "{} bytes of pixels, the model takes {wanted} ({w}×{h}, {c} channels): \
             give a PGM or PPM image, or raw bytes of that size",
            pixels.len()
        )));
    }
    Ok(pixels)
}

type Sized<'a> = (Option<[usize; 3]>, &'a [u8]);

/// Size and pixels of a binary netpbm file of 8 bits.
fn netpbm(file: &[u8]) -> Result<Sized<'_>> {
    let channels = if file.starts_with(b"P5") { 1 } else { 3 };
    let mut rest = file.get(2..).unwrap_or_default();
    let mut numbers = [0_usize; 3];
    for number in &mut numbers {
        rest = skip_space(rest);
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (text, after) = rest.split_at_checked(digits).unwrap_or_default();
        *number = core::str::from_utf8(text)
            .ok()
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| refused("its PGM/PPM header has no width, height and maximum".into()))?;
        rest = after;
    }
    let [width, height, maximum] = numbers;
    if maximum != 255 {
        return Err(refused(format!("its maximum is {maximum}, only 255 (8 bits) is supported")));
    }
    // Exactly one white-space byte separates the header from the pixels.
    let pixels = rest.get(1..).unwrap_or_default();
    Ok((Some([height, width, channels]), pixels))
}

/// Skips white space and comments.
fn skip_space(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b, after @ ..] if b.is_ascii_whitespace() => rest = after,
            [b'#', ..] => {
                let line = rest.iter().take_while(|&&b| b != b'\n').count();
                rest = rest.get(line..).unwrap_or_default();
            }
            _ => return rest,
        }
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Input, "image", message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pgm_with_a_comment_and_raw_bytes_give_the_same_pixels() {
        let pgm = b"P5\n# by hand\n3 2\n255\nabcdef";
        assert_eq!(decode(pgm, [2, 3, 1]).unwrap(), b"abcdef");
        assert_eq!(decode(b"abcdef", [2, 3, 1]).unwrap(), b"abcdef");
    }

    #[test]
    fn a_wrong_size_is_named() {
        let error = decode(b"P6 2 1 255 abcdef", [1, 2, 1]).unwrap_err();
        assert!(error.message().contains("2×1 with 3 channels"), "{error}");
        assert!(decode(b"abc", [2, 2, 1]).unwrap_err().message().contains("takes 4"));
        assert!(decode(b"P5 2 2 65535 ", [2, 2, 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), magic in any::<bool>()) {
            let mut file = if magic { b"P5".to_vec() } else { Vec::new() };
            file.extend(bytes);
            let _ = decode(&file, [2, 2, 1]);
        }
    }
}
