//! Kernels that go element by element: on images with margins, and in place.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytemuck::Pod;

use super::place::{Place, split};
use crate::graph::Activation;
use crate::kernels::{self, AddI8, Image, Isa};
use crate::quant::QuantParams;

/// Elements that an operation in place takes at a time, from a copy.
const BLOCK: usize = 256;

/// What is done to each element.
pub(crate) enum Elementwise {
    BatchNorm { isa: Isa, scale: Vec<f32>, shift: Vec<f32> },
    Activation { isa: Isa, function: Activation },
    Table(Box<[i8; 256]>),
    AddI8(AddI8),
    AddF32 { isa: Isa, range: (f32, f32) },
    Quantize { isa: Isa, params: QuantParams },
    Dequantize { isa: Isa, params: QuantParams },
}

impl Elementwise {
    /// Computes the output's place from the inputs' places, of which some may be the same.
    pub(super) fn run(&self, arena: &mut [u8], inputs: &[Place], output: Place) {
        match self {
            Self::BatchNorm { isa, scale, shift } => {
                unary(arena, inputs, output, |x, y| {
                    kernels::batch_norm_f32(*isa, scale, shift, x, y);
                });
            }
            Self::Activation { isa, function } => {
                unary(arena, inputs, output, |x, y| {
                    kernels::activation_f32(*isa, *function, x, y);
                });
            }
            Self::Table(table) => {
                unary(arena, inputs, output, |x, y| kernels::lut_i8(table, x, y));
            }
            Self::Quantize { isa, params } => {
                unary(arena, inputs, output, |x, y| kernels::quantize(*isa, *params, x, y));
            }
            Self::Dequantize { isa, params } => {
                unary(arena, inputs, output, |x, y| kernels::dequantize(*isa, *params, x, y));
            }
            Self::AddI8(add) => binary(arena, inputs, output, |a, b, y| add.run(a, b, y)),
            Self::AddF32 { isa, range } => {
                binary(arena, inputs, output, |a, b, y| kernels::add_f32(*isa, a, b, *range, y));
            }
        }
    }
}

/// `y = f(x)`.
fn unary<X: Pod, Y: Pod>(
    arena: &mut [u8],
    inputs: &[Place],
    output: Place,
    f: impl Fn(&[X], &mut [Y]),
) {
    let x = inputs[0];
    if shared(x, output) {
        let (y, []) = split(arena, output, []);
        let values: &mut [X] = bytemuck::cast_slice_mut(y);
        return each_run([output.image], |[at], len| {
            in_place(&mut values[at..][..len], |x, _, y| f(x, bytemuck::cast_slice_mut(y)));
        });
    }
    let (to, [from]) = split(arena, output, [x]);
    let (from, to): (&[X], &mut [Y]) = (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
    each_run([x.image, output.image], |[x, y], len| f(&from[x..][..len], &mut to[y..][..len]));
}

/// `y = f(a, b)`, all of one type.
fn binary<T: Pod>(
    arena: &mut [u8],
    inputs: &[Place],
    output: Place,
    f: impl Fn(&[T], &[T], &mut [T]),
) {
    let [a, b] = [inputs[0], inputs[1]];
    match (shared(a, output), shared(b, output)) {
        (false, false) => {
            let (y, [from_a, from_b]) = split(arena, output, [a, b]);
            let (from_a, from_b): (&[T], &[T]) =
                (bytemuck::cast_slice(from_a), bytemuck::cast_slice(from_b));
            let to: &mut [T] = bytemuck::cast_slice_mut(y);
            each_run([a.image, b.image, output.image], |[a, b, y], len| {
                f(&from_a[a..][..len], &from_b[b..][..len], &mut to[y..][..len]);
            });
        }
        (true, true) => {
            let (y, []) = split(arena, output, []);
            let values: &mut [T] = bytemuck::cast_slice_mut(y);
            each_run([output.image], |[at], len| {
                in_place(&mut values[at..][..len], |x, _, y| f(x, x, y));
            });
        }
        (left, _) => {
            let other = if left { b } else { a };
            let (y, [from]) = split(arena, output, [other]);
            let (from, values): (&[T], &mut [T]) =
                (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(y));
            each_run([other.image, output.image], |[from_at, at], len| {
                in_place(&mut values[at..][..len], |x, done, y| {
                    let other = &from[from_at + done..][..x.len()];
                    if left { f(x, other, y) } else { f(other, x, y) }
                });
            });
        }
    }
}

/// Whether an input lies where the output does.
fn shared(input: Place, output: Place) -> bool {
    input.slot == output.slot
}

/// Calls `f` with where each image's elements begin and how many lie together: all, where the
/// margins are the same, else row by row.
fn each_run<const N: usize>(images: [Image; N], mut f: impl FnMut([usize; N], usize)) {
    let first = images[0];
    if images.iter().all(|image| image.margin == first.margin) {
        return f([first.origin(); N], first.end() - first.origin());
    }
    for row in 0..first.h {
        f(images.map(|image| image.origin() + row * image.line()), first.row());
    }
}

/// Calls `f` with a copy of some elements, how many came before them, and the place for their
/// results, which is where they lie.
pub fn in_place<T: Pod>(values: &mut [T], mut f: impl FnMut(&[T], usize, &mut [T])) {
    let mut copy = [T::zeroed(); BLOCK];
    for (i, values) in values.chunks_mut(BLOCK).enumerate() {
        let copy = &mut copy[..values.len()];
        copy.copy_from_slice(values);
        f(copy, i * BLOCK, values);
    }
}
