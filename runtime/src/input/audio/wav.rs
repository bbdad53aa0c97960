//! WAV files with PCM of 8 or 16 bits (Microsoft and IBM 1991, "Multimedia Programming Interface").
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::format;
use alloc::string::String;

use crate::{Error, ErrorKind, Result};

/// Most channels that are averaged.
const MOST_CHANNELS: u16 = 64;

/// The sound in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wav<'a> {
    /// Samples a second.
    pub rate: u32,
    /// Channels, 1 to 64.
    pub channels: u16,
    /// Bytes of a sample of one channel: 1 (unsigned) or 2 (signed, little endian).
    bytes: u16,
    data: &'a [u8],
}

impl<'a> Wav<'a> {
    /// Reads the header. The error says what the file holds instead, or where it is cut short.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
        let mut rest = match (file.get(..4), file.get(8..12)) {
            (Some(b"RIFF"), Some(b"WAVE")) => file.get(12..).unwrap_or_default(),
            _ => return Err(refused(format!("is no WAV file (RIFF with WAVE): {CONVERT}"))),
        };
        let mut format = None;
        while let Some((name, size, body)) = chunk(rest) {
            match name {
                b"fmt " => format = Some(Format::parse(body.get(..size).unwrap_or(body))?),
                b"data" => {
                    let format = format.ok_or_else(|| {
                        refused("has its sound before its format (\"fmt \"): it is damaged".into())
                    })?;
                    return format.sound(size, body);
                }
                _ => {}
            }
            // A chunk of an odd size is followed by one byte that belongs to nothing.
            rest = body.get(size.saturating_add(size & 1)..).unwrap_or_default();
        }
        Err(refused("ends before its sound (\"data\"): it is cut short".into()))
    }

    /// Samples of each channel.
    pub fn len(&self) -> usize {
        self.frames().len()
    }

    /// Whether there is no sound.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples, 16 bits each: channels are averaged (rounded towards 0), 8 bits shifted up.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = i16> + 'a {
        let (bytes, channels) = (self.bytes, i32::from(self.channels).max(1));
        self.frames().map(move |frame| {
            let value = |sample: &[u8]| match (bytes, sample) {
                (2, &[low, high]) => i32::from(i16::from_le_bytes([low, high])),
                (_, &[byte, ..]) => (i32::from(byte).saturating_sub(128)).saturating_mul(256),
                _ => 0,
            };
            let sum = frame.chunks_exact(usize::from(bytes).max(1)).map(value);
            let sum = sum.fold(0, i32::saturating_add);
            sum.checked_div(channels).unwrap_or_default() as i16
        })
    }

    /// The samples of all channels at one time.
    fn frames(&self) -> core::slice::ChunksExact<'a, u8> {
        self.data.chunks_exact(usize::from(self.bytes.saturating_mul(self.channels)).max(1))
    }
}

const CONVERT: &str = "convert it to 16-bit PCM, as with `ffmpeg -i IN -c:a pcm_s16le OUT.wav`";

/// Name and size of the chunk at the start of `bytes`, and all bytes from its body on.
fn chunk(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let (name, rest) = bytes.split_at_checked(4)?;
    let (size, body) = rest.split_first_chunk::<4>()?;
    Some((name, u32::from_le_bytes(*size) as usize, body))
}

#[derive(Clone, Copy)]
struct Format {
    channels: u16,
    rate: u32,
    bytes: u16,
}

impl Format {
    fn parse(body: &[u8]) -> Result<Self> {
        let &[c0, c1, n0, n1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1, ref rest @ ..] = body
        else {
            return Err(refused("has a format (\"fmt \") of under 16 bytes: it is damaged".into()));
        };
        let (channels, bits) = (u16::from_le_bytes([n0, n1]), u16::from_le_bytes([b0, b1]));
        // The extensible format has the code as the first half of its GUID, after 8 bytes.
        let code = match (u16::from_le_bytes([c0, c1]), rest.get(8..10)) {
            (0xfffe, Some(&[low, high])) => u16::from_le_bytes([low, high]),
            (code, _) => code,
        };
        let what = match (code, bits) {
            (1, 8 | 16) => None,
            (1, _) => Some("PCM"),
            (2 | 0x11, _) => Some("ADPCM"),
            (3, _) => Some("floating point"),
            (6, _) => Some("A-law"),
            (7, _) => Some("µ-law"),
            (0x55, _) => Some("MP3"),
            _ => Some("an unknown compression"),
        };
        if let Some(what) = what {
            return Err(refused(format!(
                "holds {bits}-bit sound, {what} (format {code}); only PCM of 8 or 16 bits is read: {CONVERT}"
            )));
        }
        if !(1..=MOST_CHANNELS).contains(&channels) {
            return Err(refused(format!("has {channels} channels: 1 to {MOST_CHANNELS} are read")));
        }
        let rate = u32::from_le_bytes([r0, r1, r2, r3]);
        Ok(Self { channels, rate, bytes: bits.wrapping_shr(3) })
    }

    /// The `size` bytes of sound at the start of `body`.
    fn sound(self, size: usize, body: &[u8]) -> Result<Wav<'_>> {
        let Self { channels, rate, bytes } = self;
        // Programs that write to a pipe do not know the size.
        let unknown = size == u32::MAX as usize;
        let data = if unknown { body } else { body.get(..size).unwrap_or_default() };
        if !unknown && data.len() != size {
            return Err(refused(format!(
                "its header promises {size} bytes of sound, the file holds {}: it is cut short",
                body.len()
            )));
        }
        Ok(Wav { rate, channels, bytes, data })
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Input, "sound", message)
}
