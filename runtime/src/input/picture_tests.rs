//! Files of `tests/pictures` were written by Pillow 13.0 (libjpeg-turbo 3.2), the `.ppm` beside a
//! file being what it reads from it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "tests")]
use super::*;
use proptest::prelude::*;

const COLOUR: &[u8] = include_bytes!("../../tests/pictures/colour.png");
const JPEG_444: &[u8] = include_bytes!("../../tests/pictures/444.jpg");
/// Names, files and digests of the pixels; the same picture progressive and not has the same.
const JPEGS: [(&str, &[u8], u64); 5] = [
    ("444", JPEG_444, 0x6e2f_e76c_97c3_2bfc),
    ("420", include_bytes!("../../tests/pictures/420.jpg"), 0xd34d_9470_9e39_7f2b),
    ("progressive", include_bytes!("../../tests/pictures/progressive.jpg"), 0xd34d_9470_9e39_7f2b),
    ("grey", include_bytes!("../../tests/pictures/grey.jpg"), 0xd1ca_186a_7190_09d3),
    ("cmyk", include_bytes!("../../tests/pictures/cmyk.jpg"), 0x0ff9_69fb_8a76_faf4),
];

/// The pixels of a PPM file with a header as Pillow writes it.
fn ppm(file: &'static [u8]) -> &'static [u8] {
    file.strip_prefix(b"P6\n19 13\n255\n").unwrap()
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A PNG file of one row.
fn row(colour: ColorType, depth: BitDepth, width: u32, palette: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, 1);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn a_png_is_what_pillow_wrote() {
    let picture = decode(COLOUR).unwrap();
    assert_eq!(picture.shape, [13, 19, 3]);
    assert_eq!(picture.pixels, ppm(include_bytes!("../../tests/pictures/colour.ppm")));
}

#[test]
fn every_kind_of_png_becomes_grey_or_three_colours_of_8_bits() {
    use BitDepth::{Eight, One, Sixteen, Two};
    let check = |file: Vec<u8>, channels: usize, expected: &[u8]| {
        let picture = decode(&file).unwrap();
        assert_eq!((picture.shape[2], &*picture.pixels), (channels, expected));
    };
    check(row(ColorType::Grayscale, One, 4, &[], &[0b0110_0000]), 1, &[0, 255, 255, 0]);
    check(row(ColorType::Grayscale, Two, 3, &[], &[0b0001_1000]), 1, &[0, 85, 170]);
    check(row(ColorType::GrayscaleAlpha, Eight, 2, &[], &[7, 0, 9, 255]), 1, &[7, 9]);
    check(row(ColorType::Rgba, Eight, 1, &[], &[1, 2, 3, 0]), 3, &[1, 2, 3]);
    let palette = [9, 8, 7, 0, 1, 2];
    check(row(ColorType::Indexed, One, 2, &palette, &[0b1000_0000]), 3, &[0, 1, 2, 9, 8, 7]);
    // 0x0080 is 0.498 of a step, 0x0081 is 0.502 of one.
    let wide = [0x00, 0x80, 0x00, 0x81, 0xff, 0xff];
    check(row(ColorType::Grayscale, Sixteen, 3, &[], &wide), 1, &[0, 1, 255]);
    check(row(ColorType::Rgb, Sixteen, 1, &[], &wide), 3, &[0, 1, 255]);
}

/// libjpeg and this decoder round differently in the cosine transform and the colours.
#[test]
fn a_jpeg_is_what_pillow_reads_but_for_rounding() {
    let picture = decode(JPEG_444).unwrap();
    let theirs = ppm(include_bytes!("../../tests/pictures/444.ppm"));
    assert_eq!((picture.shape, picture.pixels.len()), ([13, 19, 3], theirs.len()));
    for (i, (&a, &b)) in picture.pixels.iter().zip(theirs).enumerate() {
        assert!(a.abs_diff(b) <= 3, "value {i}: {a}, {b} by Pillow");
    }
}

/// The decoder has code for AVX2, NEON and none of both.
#[test]
fn a_jpeg_has_the_same_pixels_on_every_cpu() {
    let found = JPEGS.map(|(name, file, _)| {
        let picture = decode(file).unwrap();
        let channels = if name == "grey" { 1 } else { 3 };
        assert_eq!(picture.shape, [13, 19, channels], "{name}");
        (name, digest(&picture.pixels))
    });
    assert_eq!(found, JPEGS.map(|(name, _, recorded)| (name, recorded)));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let error = |bytes: &[u8]| decode(bytes).unwrap_err().message().to_string();
    assert_eq!(error(b"GIF89a"), "is neither JPEG nor PNG");
    assert_eq!(error(&JPEG_444[..900]), "is a JPEG that is cut short");
    assert!(error(&COLOUR[..100]).starts_with("cannot be decoded: "));
    let mut flipped = COLOUR.to_vec();
    flipped[60] ^= 1;
    assert!(error(&flipped).starts_with("cannot be decoded: "));
    // 19 × 13 is said to be 32769 × 13, and the checksum of the header is set right.
    let mut wide = COLOUR.to_vec();
    wide[16..20].copy_from_slice(&32769_u32.to_be_bytes());
    let mut crc = !0_u32;
    for &byte in &wide[12..29] {
        crc = (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 * (c & 1)));
    }
    wide[29..33].copy_from_slice(&(!crc).to_be_bytes());
    assert!(error(&wide).contains("32769×13 pixels"), "{}", error(&wide));
}

proptest! {
    #[test]
    fn no_bytes_panic(which in 0..6_usize, at in 0..2000_usize, byte in any::<u8>(), end in 0..2000_usize) {
        let mut bytes = JPEGS.get(which).map_or(COLOUR, |jpeg| jpeg.1).to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(end);
        let _ = decode(&bytes);
    }
}
