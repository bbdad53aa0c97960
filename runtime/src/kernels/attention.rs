//! Multi-head self-attention (Vaswani et al. 2017) in f32: the same bits on every instruction set.
//!
//! Each score sums its products in the order of the head's elements, each output in that of the
//! tokens; what vectors do side by side are scores of several keys and elements of one output.

use super::isa::{Body, Isa};
use super::lanes::{LANES, largest, sum};
use super::math::{exp, sqrt};

/// Queries that are computed together.
const QUERIES: usize = 4;

/// The attention of one sequence: `[tokens, 3 · width]` to `[tokens, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Length of the sequence.
    pub tokens: usize,
    /// Elements of q, of k, of v and of the output.
    pub width: usize,
    /// Parts of these; a divisor of `width`.
    pub heads: usize,
}

impl Attention {
    /// Elements of scratch: a head's keys, a column each; its values, a row each; the scores of
    /// some queries. Rows are padded to whole vectors.
    pub fn scratch_len(&self) -> usize {
        let (keys, head) = (self.tokens.next_multiple_of(LANES), self.width / self.heads);
        head * keys + keys * head.next_multiple_of(LANES) + (QUERIES + 1) * keys
    }

    /// Computes `y` from q, k and v of each token in `x`; `ids` that are 0 mark padding, which no
    /// token heeds. Where all are padding, `y` is 0.
    ///
    /// Panics when lengths do not fit or `heads` is no divisor of `width`.
    pub fn run(
        &self,
        isa: Isa,
        x: &[f32],
        ids: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Self { tokens, width, heads } = *self;
        assert!(heads > 0 && width.is_multiple_of(heads), "attention: {self:?}");
        assert_eq!(x.len(), tokens * 3 * width, "attention: input, {self:?}");
        assert_eq!(y.len(), tokens * width, "attention: output, {self:?}");
        assert!(ids.is_none_or(|ids| ids.len() == tokens), "attention: ids, {self:?}");
        assert!(scratch.len() >= self.scratch_len(), "attention: scratch, {self:?}");
        isa.vectorized(Run { shape: *self, x, ids, y, scratch });
    }
}

struct Run<'a> {
    shape: Attention,
    x: &'a [f32],
    ids: Option<&'a [f32]>,
    y: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Body for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { shape: Attention { tokens, width, heads }, x, ids, y, scratch } = self;
        let (columns, head) = (tokens.next_multiple_of(LANES), width / heads);
        let padded = head.next_multiple_of(LANES);
        let (keys, rest) = scratch.split_at_mut(head * columns);
        let (values, rest) = rest.split_at_mut(columns * padded);
        let (mask, rest) = rest.split_at_mut(columns);
        let scores = &mut rest[..QUERIES * columns];
        // What is added to a score: nothing, or what makes its weight 0.
        mask.fill(f32::NEG_INFINITY);
        mask[..tokens].fill(0.0);
        for (mask, &id) in mask.iter_mut().zip(ids.unwrap_or_default()) {
            *mask = if id == 0.0 { f32::NEG_INFINITY } else { 0.0 };
        }
        if mask.iter().all(|&mask| mask != 0.0) {
            return y.fill(0.0);
        }
        let scale = (1.0 / sqrt(head as f64)) as f32;
        keys.fill(0.0);
        values.fill(0.0);
        for at in (0..width).step_by(head.max(1)) {
            for (token, x) in x.chunks_exact(3 * width).enumerate() {
                let (k, v) = (&x[width + at..][..head], &x[2 * width + at..][..head]);
                for (keys, k) in keys.chunks_exact_mut(columns).zip(k) {
                    keys[token] = *k;
                }
                values[token * padded..][..head].copy_from_slice(v);
            }
            for first in (0..tokens).step_by(QUERIES) {
                // The last queries are computed again where there are no more.
                let query = |i: usize| (first + i).min(tokens - 1);
                let q = |i: usize| &x[query(i) * 3 * width + at..][..head];
                weigh(core::array::from_fn(q), keys, columns, scores);
                let mut inverse = [0.0; QUERIES];
                for (scores, inverse) in scores.chunks_exact_mut(columns).zip(&mut inverse) {
                    for (score, mask) in scores.iter_mut().zip(&*mask) {
                        *score = *score * scale + mask;
                    }
                    let max = largest(scores);
                    for score in scores.iter_mut() {
                        *score = exp(*score - max);
                    }
                    *inverse = 1.0 / sum(scores, |weight| weight);
                }
                for (i, inverse) in inverse.iter().enumerate().take(tokens - first) {
                    let y = &mut y[(first + i) * width + at..][..head];
                    let weights = &scores[i * columns..][..tokens];
                    gather(weights, values, padded, *inverse, y);
                }
            }
        }
    }
}

/// Scores of some queries against all keys, `[QUERIES, columns]`.
#[inline(always)]
fn weigh(q: [&[f32]; QUERIES], keys: &[f32], columns: usize, scores: &mut [f32]) {
    for first in (0..columns).step_by(LANES) {
        let mut acc = [[0.0_f32; LANES]; QUERIES];
        for (i, keys) in keys.chunks_exact(columns).enumerate() {
            let keys = &keys[first..][..LANES];
            for (acc, q) in acc.iter_mut().zip(q) {
                *acc = core::array::from_fn(|lane| acc[lane] + q[i] * keys[lane]);
            }
        }
        for (acc, scores) in acc.iter().zip(scores.chunks_exact_mut(columns)) {
            scores[first..][..LANES].copy_from_slice(acc);
        }
    }
}

/// The sum of the rows of `values`, `[…, padded]`, by their weights, times `inverse`.
#[inline(always)]
fn gather(weights: &[f32], values: &[f32], padded: usize, inverse: f32, y: &mut [f32]) {
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        let mut acc = [0.0_f32; LANES];
        for (weight, row) in weights.iter().zip(values.chunks_exact(padded)) {
            let row = &row[block * LANES..][..LANES];
            acc = core::array::from_fn(|lane| acc[lane] + weight * row[lane]);
        }
        for (y, acc) in y.iter_mut().zip(acc) {
            *y = acc * inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(isa: Isa, shape: Attention, x: &[f32], ids: Option<&[f32]>) -> Vec<f32> {
        let mut y = alloc::vec![9.0; shape.tokens * shape.width];
        let mut scratch = alloc::vec![f32::NAN; shape.scratch_len()];
        shape.run(isa, x, ids, &mut y, &mut scratch);
        y
    }

    /// The definition in f64.
    fn naive(shape: Attention, x: &[f32], ids: &[f32]) -> Vec<f64> {
        let Attention { tokens, width, heads } = shape;
        let head = width / heads;
        let at = |token: usize, i: usize| f64::from(x[token * 3 * width + i]);
        let mut y = Vec::new();
        for (query, i) in (0..tokens).flat_map(|q| (0..width).map(move |i| (q, i))) {
            let first = i / head * head;
            let weight = |key: usize| {
                let product = |j| at(query, first + j) * at(key, width + first + j);
                let score = (0..head).map(product).sum::<f64>() / (head as f64).sqrt();
                if ids[key] == 0.0 { 0.0 } else { score.exp() }
            };
            let total: f64 = (0..tokens).map(weight).sum();
            let value = (0..tokens).map(|key| weight(key) * at(key, 2 * width + i)).sum::<f64>();
            y.push(if total == 0.0 { 0.0 } else { value / total });
        }
        y
    }

    #[test]
    fn equal_scores_give_the_mean_of_the_values() {
        let shape = Attention { tokens: 2, width: 2, heads: 1 };
        let x = [0.0, 0.0, 5.0, 5.0, 1.0, 2.0, 0.0, 0.0, 7.0, 7.0, 3.0, 6.0];
        for isa in Isa::available() {
            assert_eq!(run(isa, shape, &x, None), [2.0, 4.0, 2.0, 4.0]);
            assert_eq!(run(isa, shape, &x, Some(&[0.0, 9.0])), [3.0, 6.0, 3.0, 6.0]);
            assert_eq!(run(isa, shape, &x, Some(&[0.0, 0.0])), [0.0; 4]);
        }
    }

    fn case() -> impl Strategy<Value = (Attention, Vec<f32>, Vec<f32>)> {
        let sizes = (1_usize..40, 1_usize..20, 1_usize..4);
        sizes.prop_flat_map(|(tokens, head, heads)| {
            let shape = Attention { tokens, width: head * heads, heads };
            let x = prop::collection::vec(-2.0_f32..2.0, tokens * 3 * shape.width);
            let id = prop_oneof![Just(0.0_f32), Just(3.0)];
            (Just(shape), x, prop::collection::vec(id, tokens))
        })
    }

    proptest! {
        #[test]
        fn attention_is_near_the_definition_and_alike_on_every_instruction_set(
            (shape, x, ids) in case(),
        ) {
            for ids in [None, Some(&ids[..])] {
                let scalar = run(Isa::Scalar, shape, &x, ids);
                for isa in Isa::available() {
                    prop_assert_eq!(&run(isa, shape, &x, ids), &scalar, "{}", isa);
                }
                let all = alloc::vec![1.0; shape.tokens];
                for (y, wanted) in scalar.iter().zip(naive(shape, &x, ids.unwrap_or(&all))) {
                    // Scores below 18 in magnitude round by some 2⁻²⁰, and so do their weights.
                    prop_assert!((f64::from(*y) - wanted).abs() < 1e-5, "{} {}", y, wanted);
                }
            }
        }
    }
}
