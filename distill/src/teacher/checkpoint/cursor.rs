//! Reads numbers and runs of bytes from a buffer; past its end everything is an error.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

/// A place in a buffer. Integers are little endian.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let held = self.rest.len();
            return Err(format!(
                "needs {count} more bytes, {held} are left: it is cut short; download or save it again"
            ));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `count` bytes, where the count is a number of the file.
    pub(super) fn take_long(&mut self, count: u64) -> Result<&'a [u8], String> {
        // A count that does not fit is more than any buffer holds.
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// The bytes before the next line feed, which is passed over.
    pub(super) fn line(&mut self) -> Result<&'a [u8], String> {
        let length = self.rest.iter().position(|&b| b == b'\n');
        let line = self.take(length.unwrap_or(usize::MAX))?;
        self.take(1)?;
        Ok(line)
    }
}
