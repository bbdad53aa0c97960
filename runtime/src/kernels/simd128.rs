//! Loads, stores and the requantizing epilogue of the kernels for WebAssembly.
#![expect(unsafe_code, reason = "loads and stores of vectors through references of their size")]

use core::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_pmax, f32x4_pmin, f32x4_splat,
    i8x16_narrow_i16x8, i16x8_add, i16x8_load_extend_i8x8, i16x8_narrow_i32x4, i16x8_splat,
    i32x4_splat, i32x4_sub, v128, v128_load, v128_store, v128_store64_lane,
};

use bytemuck::Pod;

use crate::kernels::gemm::int8::Requantize;
use crate::quant::ROUNDING;

/// Eight int8 as i16.
#[inline]
pub(crate) fn load_i8x8(values: &[i8; 8]) -> v128 {
    // SAFETY: the reference covers exactly the 8 bytes read, and the load needs no alignment.
    unsafe { i16x8_load_extend_i8x8(values.as_ptr()) }
}

/// Sixteen bytes: int8, or four i32 or f32.
#[inline]
pub(crate) fn load<V: Pod, const N: usize>(values: &[V; N]) -> v128 {
    const { assert!(size_of::<[V; N]>() == 16, "a vector has 16 bytes") };
    // SAFETY: the reference covers exactly the 16 bytes read, and the load needs no alignment.
    unsafe { v128_load(values.as_ptr().cast()) }
}

/// Stores the first `y.len()` of `4 · V` f32.
#[inline]
pub(crate) fn store_f32<const V: usize>(y: &mut [f32], values: [v128; V]) {
    for (y, values) in y.chunks_mut(4).zip(values) {
        if let Ok(y) = <&mut [f32; 4]>::try_from(&mut *y) {
            // SAFETY: the reference covers exactly the 16 bytes written.
            unsafe { v128_store(y.as_mut_ptr().cast(), values) };
        } else {
            let mut all = [0.0; 4];
            store_f32(&mut all, [values]);
            y.copy_from_slice(&all[..y.len()]);
        }
    }
}

/// Stores the first `y.len()` of 16 int8.
#[inline]
pub(crate) fn store_i8(y: &mut [i8], values: v128) {
    if let Ok(y) = <&mut [i8; 16]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 16 bytes written; no alignment is needed.
        unsafe { v128_store(y.as_mut_ptr().cast(), values) };
    } else if let Ok(y) = <&mut [i8; 8]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 8 bytes written; no alignment is needed.
        unsafe { v128_store64_lane::<0>(values, y.as_mut_ptr().cast()) };
    } else {
        let mut all = [0; 16];
        store_i8(&mut all, values);
        y.copy_from_slice(&all[..y.len()]);
    }
}

/// The epilogue for `4 · V` neighbouring channels, 8 or 16.
#[derive(Clone, Copy)]
pub(crate) struct Requantizer<const V: usize> {
    multiplier: [v128; V],
    lo: v128,
    hi: v128,
    zero_point: v128,
}

impl<const V: usize> Requantizer<V> {
    /// The constants of channels `channel..channel + 4 · V`.
    #[inline]
    pub(crate) fn new(epilogue: &Requantize, channel: usize) -> Self {
        const { assert!(V == 2 || V == 4, "8 or 16 channels") };
        let (lo, hi) = epilogue.output.bounds();
        let (multiplier, _) = epilogue.multiplier[channel..][..4 * V].as_chunks::<4>();
        Self {
            multiplier: core::array::from_fn(|v| load(&multiplier[v])),
            lo: f32x4_splat(lo),
            hi: f32x4_splat(hi),
            zero_point: i16x8_splat(epilogue.output.zero_point.into()),
        }
    }

    /// [`requantize`](crate::quant::requantize) of the sums; the upper half repeats 8 channels.
    #[inline]
    pub(crate) fn apply(&self, sums: [v128; V]) -> v128 {
        i8x16_narrow_i16x8(self.eight(&sums, 0), self.eight(&sums, V - 2))
    }

    #[inline]
    fn eight(&self, sums: &[v128; V], v: usize) -> v128 {
        let low = self.round(sums[v], v);
        let steps = i16x8_narrow_i32x4(low, self.round(sums[v + 1], v + 1));
        i16x8_add(steps, self.zero_point)
    }

    #[inline]
    fn round(&self, sums: v128, v: usize) -> v128 {
        let steps = f32x4_mul(f32x4_convert_i32x4(sums), self.multiplier[v]);
        // `pmax(lo, x)` is `x` if larger, else `lo`, also for NaN.
        let steps = f32x4_pmin(self.hi, f32x4_pmax(self.lo, steps));
        // As `Output::round`: engines make several instructions of a conversion to i32.
        let bits = f32x4_add(steps, f32x4_splat(ROUNDING));
        i32x4_sub(bits, i32x4_splat(ROUNDING.to_bits().cast_signed()))
    }
}
