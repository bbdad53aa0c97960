//! Text and an exit code for the debugger or emulator (semihosting for AArch32, ARM IHI 0098).

use core::arch::asm;
use core::fmt::{self, Write};

const SYS_WRITE0: u32 = 0x04;
const SYS_EXIT: u32 = 0x18;
const APPLICATION_EXIT: u32 = 0x20026;
const RUN_TIME_ERROR: u32 = 0x20023;

/// Prints a line.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    // Nothing here fails.
    let _ = writeln!(Terminal, "{text}");
}

/// Ends the program: what it found was right or not.
pub(crate) fn exit(passed: bool) -> ! {
    call(SYS_EXIT, if passed { APPLICATION_EXIT } else { RUN_TIME_ERROR });
    crate::start::halt()
}

struct Terminal;

impl Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.as_bytes().chunks(63) {
            let mut line = [0_u8; 64];
            line[..part.len()].copy_from_slice(part);
            call(SYS_WRITE0, line.as_ptr() as u32);
        }
        Ok(())
    }
}

fn call(operation: u32, argument: u32) {
    // SAFETY: the break point asks the host, which reads the argument and writes only `r0`.
    unsafe {
        asm!("bkpt 0xab", inout("r0") operation => _, in("r1") argument, options(nostack));
    }
}
