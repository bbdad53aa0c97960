//! Instructions of a piece of work, as an emulator counts them: with qemu's `-icount shift=0` one
//! takes a nanosecond. On a board the same counter counts cycles of its clock.

/// Nanoseconds of a tick: the machine's processor clock is 25 MHz.
const TICK: u32 = 40;
/// The counter has 24 bits and counts down (ARMv7-M Architecture Reference Manual, B3.3).
const MOST: u32 = 0x00ff_ffff;
const CONTROL: *mut u32 = 0xe000_e010 as *mut u32;
const RELOAD: *mut u32 = 0xe000_e014 as *mut u32;
const CURRENT: *mut u32 = 0xe000_e018 as *mut u32;
/// Counts the processor's clock.
const ENABLE: u32 = 0b101;

/// Runs `work` and says how many there were, to the next 40; at most 671 millions.
pub(crate) fn instructions(work: impl FnOnce()) -> u32 {
    // SAFETY: registers of the system timer, which nothing else uses.
    unsafe {
        RELOAD.write_volatile(MOST);
        CURRENT.write_volatile(0);
        CONTROL.write_volatile(ENABLE);
    }
    let first = now();
    work();
    let last = now();
    (first.wrapping_sub(last) & MOST).wrapping_mul(TICK)
}

fn now() -> u32 {
    // SAFETY: reads the system timer.
    unsafe { CURRENT.read_volatile() }
}
