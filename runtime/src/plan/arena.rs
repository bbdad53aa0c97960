//! One buffer for all values: offsets such that values alive at the same time do not overlap.
//!
//! Greedy by size: the largest buffer first, each at the lowest offset that is free during its
//! life (Pisarchyk and Lee 2020, «Efficient memory management for deep neural net inference»).

use alloc::vec;
use alloc::vec::Vec;

/// Offsets are multiples of this, so that a vector load never splits a cache line.
pub(crate) const ALIGNMENT: usize = 64;

/// A buffer and the steps during which it is alive, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Request {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The offset of each request, and the size of the whole.
pub(super) fn place(requests: &[Request]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (core::cmp::Reverse(requests[i].bytes), i));
    let mut offsets = vec![0; requests.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(requests.len());
    let mut total = 0;
    for i in order {
        let mut offset = 0;
        // `placed` is sorted by offset, so the first gap that is wide enough is the lowest.
        for &other in &placed {
            if !requests[i].overlaps(&requests[other]) {
                continue;
            }
            if offset + requests[i].bytes <= offsets[other] {
                break;
            }
            offset =
                offset.max((offsets[other] + requests[other].bytes).next_multiple_of(ALIGNMENT));
        }
        offsets[i] = offset;
        total = total.max(offset + requests[i].bytes);
        let at = placed.partition_point(|&p| offsets[p] <= offset);
        placed.insert(at, i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_only_its_two_largest_neighbours() {
        let chain = [(100, 0, 1), (300, 1, 2), (200, 2, 3), (50, 3, 4)];
        let requests = chain.map(|(bytes, first, last)| Request { bytes, first, last });
        let (_, total) = place(&requests);
        // 300 and 200 are alive together at step 2; 300 ends at 300, the next multiple is 320.
        assert_eq!(total, 520);
    }

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(
            raw in proptest::collection::vec((1_usize..5000, 0_usize..20, 0_usize..6), 1..40)
        ) {
            let requests: Vec<Request> = raw
                .iter()
                .map(|&(bytes, first, life)| Request { bytes, first, last: first + life })
                .collect();
            let (offsets, total) = place(&requests);
            for (i, a) in requests.iter().enumerate() {
                prop_assert_eq!(offsets[i] % ALIGNMENT, 0);
                prop_assert!(offsets[i] + a.bytes <= total);
                for (j, b) in requests.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j]
                        || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !a.overlaps(b), "{:?} and {:?}", a, b);
                }
            }
        }
    }
}
