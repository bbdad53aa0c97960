//! Files of images: binary PGM and PPM (netpbm) and raw bytes, which need no library, and pictures
//! (JPEG, PNG) with the feature `pictures`.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use crate::{Error, ErrorKind, Result};

/// First bytes of a PNG file.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// First bytes of a JPEG file.
pub(super) const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// The `h · w · c` bytes, in that order, of a PGM (`P5`), PPM (`P6`), JPEG, PNG or raw file, told
/// apart by their first bytes.
///
/// The size must be exactly `[h, w]`: resizing is left to the caller, because it changes answers.
/// Channels become those of the network as they do in training: grey is repeated, colours are
/// mixed ([`grey`]).
pub fn decode(file: &[u8], [h, w, c]: [usize; 3]) -> Result<Cow<'_, [u8]>> {
    let wanted = h.saturating_mul(w).saturating_mul(c);
    let (size, pixels) = match file.get(..2) {
        Some(b"P5" | b"P6") => netpbm(file)?,
        _ if file.starts_with(PNG) || file.starts_with(JPEG) => picture(file)?,
        _ => (None, Cow::Borrowed(file)),
    };
    let channels = size.map_or(c, |[_, _, channels]| channels);
    if let Some([ih, iw, ic]) = size.filter(|&[ih, iw, _]| [ih, iw] != [h, w]) {
        return Err(refused(format!(
            "the image is {iw}×{ih} with {ic} channels, the model takes {w}×{h} with {c}: scale it, as with \
             `ffmpeg -i IN -vf scale={w}:{h}:flags=area OUT.ppm`"
        )));
    }
    let found = h.saturating_mul(w).saturating_mul(channels);
    if pixels.len() != found {
        return Err(refused(format!(
            "{} bytes of pixels, the model takes {wanted} ({w}×{h}, {c} channels): \
             give an image, or raw bytes of that size",
            pixels.len()
        )));
    }
    match (channels, c) {
        (1, _) if c != 1 => {
            Ok(pixels.iter().flat_map(|&value| core::iter::repeat_n(value, c)).collect())
        }
        (3, 1) => Ok(pixels.as_chunks().0.iter().map(|&pixel| grey(pixel)).collect()),
        _ if channels == c => Ok(pixels),
        _ => Err(refused(format!("the image has {channels} channels, the model takes {c}"))),
    }
}

/// Red, green and blue as grey by ITU-R BT.601 (0.299, 0.587, 0.114), as Pillow does: in 16 bits
/// behind the point, rounded.
pub fn grey(rgb: [u8; 3]) -> u8 {
    let weighted =
        rgb.iter().zip([19595_u32, 38470, 7471]).map(|(&v, k)| u32::from(v).wrapping_mul(k));
    (weighted.sum::<u32>().saturating_add(0x8000) >> 16) as u8
}

#[cfg(feature = "pictures")]
fn picture(file: &[u8]) -> Result<Sized<'_>> {
    let picture = super::picture::decode(file)?;
    Ok((Some(picture.shape), Cow::Owned(picture.pixels)))
}

#[cfg(not(feature = "pictures"))]
fn picture(_: &[u8]) -> Result<Sized<'_>> {
    Err(refused(
        "is a JPEG or PNG, which this program was built without: build it with the feature `pictures`, or \
         convert the file, as with `ffmpeg -i IN OUT.ppm`"
            .into(),
    ))
}

/// `[h, w, c]` where the file says it, and the pixels.
type Sized<'a> = (Option<[usize; 3]>, Cow<'a, [u8]>);

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
    Ok((Some([height, width, channels]), Cow::Borrowed(pixels)))
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
        assert_eq!(*decode(pgm, [2, 3, 1]).unwrap(), *b"abcdef");
        assert_eq!(*decode(b"abcdef", [2, 3, 1]).unwrap(), *b"abcdef");
    }

    #[test]
    fn a_wrong_size_is_named() {
        let error = decode(b"P6 1 2 255 abcdef", [1, 2, 1]).unwrap_err();
        assert!(error.message().contains("1×2 with 3 channels"), "{error}");
        assert!(decode(b"abc", [2, 2, 1]).unwrap_err().message().contains("takes 4"));
        assert!(decode(b"P6 2 1 255 abcde", [1, 2, 3]).unwrap_err().message().contains("takes 6"));
        assert!(decode(b"P5 2 2 65535 ", [2, 2, 1]).is_err());
        assert!(decode(b"P5 1 1 255 a", [1, 1, 2]).is_ok());
        assert!(decode(b"P6 1 1 255 abc", [1, 1, 2]).unwrap_err().message().contains("takes 2"));
    }

    #[test]
    fn channels_become_those_of_the_network() {
        assert_eq!(*decode(b"P5 2 1 255 ab", [1, 2, 3]).unwrap(), *b"aaabbb");
        // 0.299 · 10 + 0.587 · 200 + 0.114 · 30 = 123.81
        let ppm = b"P6 2 1 255 \x0a\xc8\x1e\x07\x07\x07";
        assert_eq!(*decode(ppm, [1, 2, 1]).unwrap(), [124, 7]);
    }

    #[cfg(not(feature = "pictures"))]
    #[test]
    fn pictures_are_refused_with_the_feature_that_reads_them() {
        for file in [PNG, JPEG] {
            let error = decode(file, [2, 2, 1]).unwrap_err();
            assert!(error.message().contains("feature `pictures`"), "{error}");
        }
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
