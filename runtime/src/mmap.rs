//! The one memory map.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::File;

/// Maps a whole file for reading.
pub(crate) fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is only read, as bytes, for which every bit pattern is valid. A file changed
    // under a running model would change its answers, as documented on `Model::open`; hipflask
    // itself replaces files by rename, which leaves existing maps alone.
    unsafe { memmap2::Mmap::map(file) }
}
