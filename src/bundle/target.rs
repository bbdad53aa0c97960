//! What a bundle can be built for: target triples, what links for them, and the boards by name.

use anyhow::{Result, bail};

/// The target that this program was built for.
pub const NATIVE: &str = env!("HIPFLASK_TARGET");

/// A target that bundles are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Rust's name of it.
    pub triple: &'static str,
    /// What puts a program together for it.
    pub linker: Linker,
    /// Machine in the header of its programs.
    pub machine: Machine,
}

/// What puts a program together for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// rustc's own, and the C library that comes with the standard library: nothing else is needed.
    RustLld,
    /// A C compiler for that machine, from a Debian package.
    Gcc {
        /// Its name on the PATH.
        command: &'static str,
        /// Debian's packages of it and of its C library.
        packages: &'static str,
    },
    /// The clang of Android's NDK.
    Ndk {
        /// Its name in the NDK's folder of programs.
        command: &'static str,
    },
}

/// The machine that a program is for, as its file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// ELF, 64 bits.
    Aarch64,
    /// ELF, 32 bits.
    Arm,
    /// ELF, 64 bits.
    X86_64,
    /// A module of WebAssembly.
    Wasm,
}

impl Machine {
    /// The machine of the program in `bytes`; none where it is another's, or no program.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0, b'a', b's', b'm', ..] => Some(Self::Wasm),
            // ELF-64 specification, e_machine: 16 bits at 18, little-endian on all of these.
            [0x7f, b'E', b'L', b'F', rest @ ..] => match rest.get(14..16)? {
                [0xb7, 0] => Some(Self::Aarch64),
                [0x28, 0] => Some(Self::Arm),
                [0x3e, 0] => Some(Self::X86_64),
                _ => None,
            },
            _ => None,
        }
    }
}

const fn target(triple: &'static str, machine: Machine, linker: Linker) -> Target {
    Target { triple, linker, machine }
}

/// Every target, the preferred one of a machine first.
pub const TARGETS: [Target; 8] = [
    target("aarch64-unknown-linux-musl", Machine::Aarch64, Linker::RustLld),
    target(
        "aarch64-unknown-linux-gnu",
        Machine::Aarch64,
        Linker::Gcc {
            command: "aarch64-linux-gnu-gcc",
            packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        },
    ),
    target("armv7-unknown-linux-musleabihf", Machine::Arm, Linker::RustLld),
    target(
        "armv7-unknown-linux-gnueabihf",
        Machine::Arm,
        Linker::Gcc {
            command: "arm-linux-gnueabihf-gcc",
            packages: "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
        },
    ),
    target("x86_64-unknown-linux-musl", Machine::X86_64, Linker::RustLld),
    target(
        "x86_64-unknown-linux-gnu",
        Machine::X86_64,
        Linker::Gcc {
            command: "x86_64-linux-gnu-gcc",
            packages: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
        },
    ),
    target(
        "aarch64-linux-android",
        Machine::Aarch64,
        Linker::Ndk { command: "aarch64-linux-android24-clang" },
    ),
    target("wasm32-unknown-unknown", Machine::Wasm, Linker::RustLld),
];

/// A board by name: what is bundled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name for `--board`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Triple of its target with a 64-bit system.
    pub triple: &'static str,
    /// Its CPU.
    pub cpu: &'static str,
    /// The code path that the runtime takes there, as `verify` and `bench` print it; none where
    /// that differs from one to the next.
    pub isa: Option<&'static str>,
}

const PI: &str = "aarch64-unknown-linux-musl";

/// Every board. CPUs of the Raspberry Pi: raspberrypi.com/documentation, "Processors".
pub const BOARDS: [Board; 6] = [
    Board {
        name: "pi-zero-2",
        title: "Raspberry Pi Zero 2 W",
        triple: PI,
        cpu: "cortex-a53",
        isa: Some("neon"),
    },
    Board {
        name: "pi-3",
        title: "Raspberry Pi 3",
        triple: PI,
        cpu: "cortex-a53",
        isa: Some("neon"),
    },
    Board {
        name: "pi-4",
        title: "Raspberry Pi 4",
        triple: PI,
        cpu: "cortex-a72",
        isa: Some("neon"),
    },
    Board {
        name: "pi-5",
        title: "Raspberry Pi 5",
        triple: PI,
        cpu: "cortex-a76",
        isa: Some("dotprod"),
    },
    Board {
        name: "android",
        title: "Android, 64 bits",
        triple: "aarch64-linux-android",
        cpu: "any ARMv8",
        isa: None,
    },
    Board {
        name: "browser",
        title: "web page",
        triple: "wasm32-unknown-unknown",
        cpu: "WebAssembly",
        isa: Some("simd128"),
    },
];

impl Target {
    /// What is meant by `name`: a triple, a board's name, or `native`.
    ///
    /// `native` and the triple of this program give none: this machine, whatever it is.
    pub fn of(name: &str) -> Result<Option<&'static Self>> {
        let board = BOARDS.iter().find(|board| board.name == name);
        let triple = board.map_or(name, |board| board.triple);
        if triple == "native" || triple == NATIVE {
            return Ok(None);
        }
        if let Some(target) = TARGETS.iter().find(|target| target.triple == triple) {
            return Ok(Some(target));
        }
        let names = |names: &mut dyn Iterator<Item = &'static str>| -> String {
            names.collect::<Vec<_>>().join(", ")
        };
        bail!(
            "{name}: no target that bundles are built for: take native, one of {}, or a board: {}",
            names(&mut TARGETS.iter().map(|target| target.triple)),
            names(&mut BOARDS.iter().map(|board| board.name)),
        )
    }

    /// Whether it is WebAssembly without a system, for a page.
    pub fn is_browser(&self) -> bool {
        self.machine == Machine::Wasm
    }
}

/// The triple that `name`, a triple, a board's name or `native`, stands for.
pub fn triple(name: &str) -> Result<&'static str> {
    Ok(Target::of(name)?.map_or(NATIVE, |target| target.triple))
}

/// The board called `name`.
pub fn board(name: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.name == name)
}
