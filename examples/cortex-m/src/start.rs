//! From power-on to `main`: the vector table, memory, faults.

use core::arch::asm;
use core::panic::PanicInfo;

use crate::host;

unsafe extern "C" {
    static mut data_start: u32;
    static mut data_end: u32;
    static data_load: u32;
    static mut bss_start: u32;
    static mut bss_end: u32;
    fn stack_top();
}

/// What the processor reads first (ARMv7-M Architecture Reference Manual, B1.5.3).
#[unsafe(link_section = ".vectors")]
#[used]
static VECTORS: [unsafe extern "C" fn(); 16] = [
    stack_top, reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
    fault, fault, fault,
];

/// Makes the statics what the program says, then runs it.
#[unsafe(no_mangle)]
unsafe extern "C" fn reset() {
    // SAFETY: the linker script gives ranges of whole words in RAM that nothing uses yet.
    unsafe {
        let (mut to, mut from) = (&raw mut data_start, &raw const data_load);
        while to < &raw mut data_end {
            to.write_volatile(from.read_volatile());
            (to, from) = (to.add(1), from.add(1));
        }
        let mut to = &raw mut bss_start;
        while to < &raw mut bss_end {
            to.write_volatile(0);
            to = to.add(1);
        }
    }
    host::exit(crate::main());
}

/// Where faults and interrupts end, of which there should be none.
unsafe extern "C" fn fault() {
    host::print(format_args!("fault"));
    host::exit(false);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    host::print(format_args!("{info}"));
    host::exit(false)
}

/// Waits for nothing.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: waits for an interrupt, which changes no memory.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}
