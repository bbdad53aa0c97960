//! The transforms of F(2×2, 3×3) and F(4×4, 3×3), one dimension at a time, 16 channels at a time.
//!
//! Cook-Toom at the points 0, ±1, ∞ and 0, ±√½, ±√2, ∞: with 0, ±1, ±2, ∞ (Lavin and Gray 2016)
//! the constants are simpler and the error is larger, because they differ more in size
//! (Barabasz et al. 2020).

use core::array::from_fn;
use core::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Channels that are transformed side by side.
pub(super) const LANES: usize = 16;
/// One value of each of them.
pub(super) type Lanes = [f32; LANES];

/// Turns windows of `IN` inputs into `OUT` outputs of a kernel of three taps, by `IN` products.
pub(super) trait Transform<const IN: usize, const OUT: usize>: 'static {
    /// What each product's weight is of the three taps.
    const WEIGHT: [[f64; 3]; IN];

    /// The left sides of the products.
    fn input(x: [Lanes; IN]) -> [Lanes; IN];

    /// The outputs from the products.
    fn output(m: [Lanes; IN]) -> [Lanes; OUT];
}

/// F(2, 3): two outputs by four products.
pub(super) struct Two;

impl Transform<4, 2> for Two {
    const WEIGHT: [[f64; 3]; 4] =
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn input([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
        [sub(a, c), add(c, b), sub(c, b), sub(d, b)]
    }

    #[inline(always)]
    fn output([a, b, c, d]: [Lanes; 4]) -> [Lanes; 2] {
        [add(add(b, c), a), add(sub(b, c), d)]
    }
}

/// F(4, 3): four outputs by six products.
pub(super) struct Four;

/// The points `±P` and `±Q`, whose product is 1.
const P: f64 = FRAC_1_SQRT_2;
const Q: f64 = SQRT_2;

impl Transform<6, 4> for Four {
    // Row of a point p: (1, p, p²), divided by the product of its distances from the others.
    const WEIGHT: [[f64; 3]; 6] = [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -2.0 / 3.0 * P, -1.0 / 3.0],
        [-2.0 / 3.0, 2.0 / 3.0 * P, -1.0 / 3.0],
        [1.0 / 6.0, 1.0 / 6.0 * Q, 1.0 / 3.0],
        [1.0 / 6.0, -1.0 / 6.0 * Q, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn input([a, b, c, d, e, f]: [Lanes; 6]) -> [Lanes; 6] {
        let (p, q) = (P as f32, Q as f32);
        let (even, odd) = (add_scaled(e, c, -2.0), scaled(add_scaled(d, b, -2.0), p));
        let (even_q, odd_q) = (add_scaled(e, c, -0.5), scaled(add_scaled(d, b, -0.5), q));
        [
            add_scaled(add(a, e), c, -2.5),
            add(even, odd),
            sub(even, odd),
            add(even_q, odd_q),
            sub(even_q, odd_q),
            add_scaled(add(b, f), d, -2.5),
        ]
    }

    #[inline(always)]
    fn output([a, b, c, d, e, f]: [Lanes; 6]) -> [Lanes; 4] {
        let (p, q) = (P as f32, Q as f32);
        let (even, odd) = (add(b, c), sub(b, c));
        let (even_q, odd_q) = (add(d, e), sub(d, e));
        [
            add(add(even, even_q), a),
            add_scaled(scaled(odd, p), odd_q, q),
            add_scaled(scaled(even, 0.5), even_q, 2.0),
            add(add_scaled(scaled(odd, 0.5 * p), odd_q, 2.0 * q), f),
        ]
    }
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    from_fn(|i| a[i] + b[i])
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    from_fn(|i| a[i] - b[i])
}

#[inline(always)]
fn scaled(a: Lanes, factor: f32) -> Lanes {
    from_fn(|i| a[i] * factor)
}

/// `a + factor · b`
#[inline(always)]
fn add_scaled(a: Lanes, b: Lanes, factor: f32) -> Lanes {
    from_fn(|i| a[i] + factor * b[i])
}
