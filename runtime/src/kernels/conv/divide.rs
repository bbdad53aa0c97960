//! A convolution on several threads: each computes some rows of the output.
//!
//! int8 bits are those of one thread. f32 differs by rounding: tiles sum the last pixels of their
//! rows in another order.

use super::{Conv, ConvShape};
use crate::kernels::Isa;
use crate::kernels::gemm::Arithmetic;
use crate::threads::Threads;

/// A depthwise product takes as long as so many of a matrix.
const DEPTHWISE: usize = 4;

/// Multiply-accumulates of about four microseconds: waking and waiting take one.
const fn least_macs(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => 1 << 15,
        Isa::Avx512Vnni => 1 << 19,
        _ => 1 << 17,
    }
}

/// How many parts are worth their cost.
pub(super) fn parts(shape: &ConvShape, isa: Isa, threads: usize) -> usize {
    let macs = shape.out_h * shape.out_w * shape.weight_len();
    let weight = if shape.is_depthwise() { DEPTHWISE } else { 1 };
    if macs * weight < least_macs(isa) { 1 } else { threads.min(shape.out_h) }
}

/// Divides the rows among the threads and runs them.
pub(super) fn run<T: Arithmetic>(
    conv: &Conv<T>,
    (x, y): (&[T::Value], &mut [T::Value]),
    scratch: &mut [u8],
    threads: &mut Threads,
) {
    conv.assert_lengths(x, y);
    let Conv { place, strategy, .. } = conv;
    let (rows, line) = (place.shape.out_h, place.y_image().line());
    let unit = strategy.row_unit();
    let units = rows.div_ceil(unit);
    let count = threads.count().min(units);
    let scratch_len = strategy.scratch_len().next_multiple_of(64);
    let (needed, given) = (count * scratch_len, scratch.len());
    assert!(given >= needed, "conv: {count} parts need {needed} bytes of scratch, have {given}");
    let rest = (&mut y[place.y_image().origin()..], scratch);
    let parts = (0..count).scan(rest, |(y, scratch), i| {
        let part = units * i / count * unit..rows.min(units * (i + 1) / count * unit);
        // The last row ends where its last pixel does.
        let y = y.split_off_mut(..y.len().min(part.len() * line))?;
        Some((part, y, scratch.split_off_mut(..scratch_len)?))
    });
    threads.each(parts, |(part, y, scratch)| strategy.run(part, x, y, scratch));
}
