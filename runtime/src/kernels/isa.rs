//! Instruction sets: which this CPU has, which to use, and the one place that chooses by name.

use core::fmt;

/// An instruction set for which there are kernels.
///
/// All give the same int8 bits; f32 differs between them by rounding only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code, vectorized by the compiler as far as the target's baseline allows.
    Scalar,
    /// x86-64 with AVX2 and FMA (Haswell, Zen and later).
    Avx2,
    /// x86-64 with `vpdpbusd` on 256 bits: AVX-VNNI (Alder Lake, Zen 5 and later), or AVX512-VNNI
    /// with VL (Cascade Lake).
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ, VL, VBMI and VNNI (Ice Lake, Zen 4 and later).
    Avx512Vnni,
    /// AArch64 with NEON (Cortex-A53 and A72: Raspberry Pi 3 and 4; all of them).
    Neon,
    /// AArch64 with the dot product `sdot` (Cortex-A55 and A76, Raspberry Pi 5, Apple M1).
    Dotprod,
    /// AArch64 with the int8 matrix product `smmla` (Cortex-A510 and X2, Neoverse V1, Apple M2).
    I8mm,
    /// 32-bit ARM with NEON under Linux (Cortex-A7 and later; 32-bit systems on newer ones).
    Armv7Neon,
    /// WebAssembly with `simd128`, where the build has it: programs cannot ask their host.
    Simd128,
}

impl Isa {
    /// All of them, slowest first; this CPU need not have them.
    pub const ALL: [Self; 9] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
        Self::Armv7Neon,
        Self::Simd128,
    ];

    /// The name in `HIPFLASK_ISA`, options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
            Self::Armv7Neon => "armv7neon",
            Self::Simd128 => "simd128",
        }
    }

    /// The instruction set of that [`name`](Self::name), whether this CPU has it or not.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether this CPU can run it; without `std` whether the build targets it.
    #[inline]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => has_avx2(),
            Self::AvxVnni => has_vex_vnni() || has_evex_vnni(),
            Self::Avx512Vnni => has_avx512_vnni(),
            Self::Neon => has_neon(),
            Self::Dotprod => has_dotprod(),
            Self::I8mm => has_i8mm(),
            Self::Armv7Neon => has_armv7_neon(),
            Self::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
        }
    }

    /// Those that this CPU can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest that this CPU can run.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// The choice that the environment variable `HIPFLASK_ISA` makes; `None` when it is unset.
    ///
    /// Fails with [`ErrorKind::Input`](crate::ErrorKind::Input) on a name that is unknown or that
    /// this CPU lacks, because a forced path that silently ran another would prove nothing.
    #[cfg(feature = "std")]
    pub fn from_env() -> crate::Result<Option<Self>> {
        const VARIABLE: &str = "HIPFLASK_ISA";
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(name) => Self::choose(VARIABLE, &name.to_string_lossy()).map(Some),
        }
    }

    /// The instruction set of that name if this CPU has it; the error names `at` and the choices.
    #[cfg(feature = "std")]
    pub fn choose(at: &str, name: &str) -> crate::Result<Self> {
        let found = Self::from_name(name);
        if let Some(isa) = found.filter(|isa| isa.is_available()) {
            return Ok(isa);
        }
        let names: alloc::vec::Vec<_> = Self::available().map(Self::name).collect();
        let why = match found {
            Some(isa) => alloc::format!("this CPU cannot run {isa}"),
            None => alloc::format!("there is no instruction set {name:?}"),
        };
        let message = alloc::format!("{why}; available here: {}", names.join(", "));
        Err(crate::Error::new(crate::ErrorKind::Input, at, message))
    }

    /// Runs `body`, compiled for this instruction set where that is more than the baseline.
    ///
    /// For loops that the compiler vectorizes well: one body, one compilation for each
    /// instruction set. What takes part has to be inlined: what the body calls, and the body
    /// itself. A closure is while it is small; larger ones implement [`Body`]. No compilation
    /// enables fused multiply-add contraction, so the bits are the same.
    #[inline]
    pub fn vectorized<B: Body>(self, body: B) -> B::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni if has_avx2() => {
                #[expect(unsafe_code, reason = "calls what the CPU was just asked for")]
                // SAFETY: the guard above has seen AVX2 on this CPU.
                unsafe {
                    with_avx2(body)
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni if has_avx512_vnni() => {
                #[expect(unsafe_code, reason = "calls what the CPU was just asked for")]
                // SAFETY: the guard above has seen these parts of AVX-512 on this CPU.
                unsafe {
                    with_avx512(body)
                }
            }
            _ => body.run(),
        }
    }

    /// States that a kernel made for this instruction set may be called on this CPU.
    #[inline]
    pub(crate) fn assert_available(self) {
        assert!(self.is_available(), "a kernel for {self} was asked for, which this CPU lacks");
    }
}

/// Loops for [`Isa::vectorized`].
pub trait Body {
    /// What they give.
    type Output;

    /// Runs them; to be `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

impl<R, F: FnOnce() -> R> Body for F {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        self()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<B: Body>(body: B) -> B::Output {
    body.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<B: Body>(body: B) -> B::Output {
    body.run()
}

/// Whether this CPU has all of these features; without `std` whether the build targets them.
macro_rules! has {
    ($arch:tt, $is_detected:ident: $($feature:tt),+) => {{
        #[cfg(all(target_arch = $arch, feature = "std"))]
        let has = $(std::arch::$is_detected!($feature))&&+;
        #[cfg(not(all(target_arch = $arch, feature = "std")))]
        let has = cfg!(target_arch = $arch) $(&& cfg!(target_feature = $feature))+;
        has
    }};
}

macro_rules! x86_has {
    ($($feature:tt),+) => { has!("x86_64", is_x86_feature_detected: $($feature),+) };
}

macro_rules! aarch64_has {
    ($($feature:tt),+) => { has!("aarch64", is_aarch64_feature_detected: $($feature),+) };
}

#[inline]
fn has_avx2() -> bool {
    x86_has!("avx2", "fma")
}

/// `vpdpbusd` in the encoding of AVX2's instructions.
#[inline]
pub(crate) fn has_vex_vnni() -> bool {
    has_avx2() && x86_has!("avxvnni")
}

/// `vpdpbusd` in the encoding of AVX-512's instructions.
#[inline]
fn has_evex_vnni() -> bool {
    has_avx2() && x86_has!("avx512f", "avx512vl", "avx512vnni")
}

/// With AVX2, because kernels that gain nothing from wider vectors are shared.
#[inline]
fn has_avx512_vnni() -> bool {
    has_avx2()
        && x86_has!("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512vnni")
}

/// In the usual byte order: kernels count lanes in it.
#[inline]
fn has_neon() -> bool {
    cfg!(target_endian = "little") && aarch64_has!("neon")
}

#[inline]
fn has_dotprod() -> bool {
    has_neon() && aarch64_has!("dotprod")
}

/// With the dot product, because what gains nothing from `smmla` is shared.
#[inline]
fn has_i8mm() -> bool {
    has_dotprod() && aarch64_has!("i8mm")
}

#[inline]
fn has_armv7_neon() -> bool {
    #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
    let has = super::armv7::has_neon();
    #[cfg(not(all(target_arch = "arm", target_os = "linux", feature = "std")))]
    let has = false;
    has
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("AVX2 "), None);
    }

    #[test]
    fn scalar_is_always_available_and_best_is_among_the_available() {
        assert_eq!(Isa::available().next(), Some(Isa::Scalar));
        assert!(Isa::best().is_available());
    }

    #[test]
    #[cfg(feature = "std")]
    fn an_unknown_name_is_refused_with_the_choices() {
        let error = Isa::choose("HIPFLASK_ISA", "sse9").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Input);
        let text = alloc::string::ToString::to_string(&error);
        assert!(text.starts_with("HIPFLASK_ISA: there is no instruction set \"sse9\"; "), "{text}");
        assert!(text.contains("available here: scalar"), "{text}");
        assert_eq!(Isa::choose("--isa", "scalar").unwrap(), Isa::Scalar);
    }
}
