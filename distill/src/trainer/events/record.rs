//! Records of TensorFlow's event files: a length, its checksum, the bytes, their checksum
//! (`tensorflow/core/lib/io/record_writer.h`).

/// `bytes` as one record; lengths and checksums are little-endian.
pub(super) fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let checksum = |of: &[u8]| masked(crc32c(of)).to_le_bytes();
    [&length[..], &checksum(&length), bytes, &checksum(bytes)].concat()
}

/// A checksum that is kept beside what it checks is rotated and shifted, since a checksum of bytes
/// that contain their checksum is a weak one (`tensorflow/core/lib/hash/crc32c.h`).
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, 12.1), bit by bit: events are short and rare.
fn crc32c(bytes: &[u8]) -> u32 {
    const REFLECTED: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ REFLECTED } else { crc >> 1 };
    let add = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, add)
}

#[cfg(test)]
mod tests {
    use super::{crc32c, masked, record};

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        // Appendix B.4, and the catalogue's check value.
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_has_its_length_and_two_masked_checksums() {
        // Unmasked as TensorFlow's `crc32c::Unmask` does it.
        let unmask = |masked: u32| masked.wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmask(masked(0x1234_5678)), 0x1234_5678);
        let bytes = record(b"123456789");
        assert_eq!(
            (bytes.len(), &bytes[..8], &bytes[12..21]),
            (25, &[9, 0, 0, 0, 0, 0, 0, 0][..], &b"123456789"[..])
        );
        assert_eq!(bytes[21..], masked(0xe306_9283).to_le_bytes());
    }
}
