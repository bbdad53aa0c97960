//! Linear layers and embeddings in groups against plain loops over the stored weights.

use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::groups::Groups;
use crate::kernels::Isa;
use crate::threads::Threads;

/// A matrix `[n, k]` in groups, with what multiplies it.
#[derive(Clone, Debug)]
struct Case {
    groups: Groups,
    k: usize,
    n: usize,
    q: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    x: Vec<f32>,
    range: (f32, f32),
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        self.groups.pack(&self.q)
    }

    fn tokens(&self) -> usize {
        self.x.len() / self.k
    }

    /// The order of the sums as `docs/weight-only.md` states it, one channel at a time.
    fn twin(&self) -> Vec<f32> {
        let (size, count) = (self.groups.size, self.groups.count(self.k));
        let mut y = Vec::new();
        for x in self.x.chunks(self.k) {
            for (o, q) in self.q.chunks(self.k).enumerate() {
                let mut sum = self.bias[o];
                for (g, (x, q)) in x.chunks(size).zip(q.chunks(size)).enumerate() {
                    let mut halves = [0.0_f32; 2];
                    for (j, (x, &q)) in x.iter().zip(q).enumerate() {
                        halves[j % 2] += x * f32::from(q);
                    }
                    sum += (halves[0] + halves[1]) * self.scales[o * count + g];
                }
                let (lo, hi) = self.range;
                y.push(sum.clamp(lo, hi));
            }
        }
        y
    }

    /// In f64, with the sum of magnitudes that rounding is measured by.
    fn exact(&self) -> Vec<(f64, f64)> {
        let (size, count) = (self.groups.size, self.groups.count(self.k));
        let mut y = Vec::new();
        for x in self.x.chunks(self.k) {
            for (o, q) in self.q.chunks(self.k).enumerate() {
                let bias = f64::from(self.bias[o]);
                let (mut sum, mut magnitude) = (bias, bias.abs());
                for (j, (&x, &q)) in x.iter().zip(q).enumerate() {
                    let scale = f64::from(self.scales[o * count + j / size]);
                    let product = f64::from(x) * f64::from(q) * scale;
                    sum += product;
                    magnitude += product.abs();
                }
                let (lo, hi) = self.range;
                y.push((sum.clamp(lo.into(), hi.into()), magnitude));
            }
        }
        y
    }

    fn layer(&self, isa: Isa) -> WeightOnlyLinear {
        let weights = (&self.bytes()[..], &self.scales[..]);
        let shape = (self.tokens(), self.k);
        WeightOnlyLinear::new(isa, self.groups, shape, weights, &self.bias, self.range)
    }
}

fn case() -> impl Strategy<Value = Case> {
    let groups = (prop_oneof![Just(4_u8), Just(8)], prop::sample::select(&Groups::SIZES[..]))
        .prop_map(|(bits, size)| Groups { bits, size });
    let range = prop_oneof![
        Just((f32::NEG_INFINITY, f32::INFINITY)),
        Just((0.0, f32::INFINITY)),
        Just((0.0, 6.0))
    ];
    (groups, 1_usize..150, 1_usize..40, 1_usize..6, range).prop_flat_map(
        |(groups, k, n, tokens, range)| {
            let k = if groups.bits == 4 { k.next_multiple_of(2) } else { k };
            let (lo, hi) = groups.range();
            let parts = (
                vec(lo..=hi, n * k),
                vec(-0.1_f32..0.1, n * groups.count(k)),
                vec(-1.0_f32..1.0, n),
                vec(-2.0_f32..2.0, tokens * k),
            );
            parts.prop_map(move |(q, scales, bias, x)| Case {
                groups,
                k,
                n,
                q,
                scales,
                bias,
                x,
                range,
            })
        },
    )
}

fn run(layer: &WeightOnlyLinear, case: &Case) -> Vec<f32> {
    let mut y = alloc::vec![9.0; case.tokens() * case.n];
    let mut scratch = alloc::vec![f32::NAN; layer.scratch_len()];
    layer.run(&case.x, &mut y, &mut scratch);
    y
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

proptest! {
    #[test]
    fn linear_layers_in_groups_are_the_twins_bits_on_every_instruction_set(case in case()) {
        let twin = case.twin();
        for isa in Isa::available() {
            prop_assert_eq!(bits(&run(&case.layer(isa), &case)), bits(&twin), "{}", isa);
        }
        for (y, (exact, magnitude)) in twin.iter().zip(case.exact()) {
            // 75 additions of a half, three more and one a group, each 2⁻²⁴ of what was added.
            let error = (f64::from(*y) - exact).abs();
            prop_assert!(error <= 90.0 * 2_f64.powi(-24) * magnitude, "{} {}", y, exact);
        }
    }

    #[test]
    fn embedded_rows_are_scale_times_integer(
        case in case(),
        ids in vec(prop_oneof![-1.0_f32..50.0, Just(f32::NAN), Just(1e9)], 1..6),
    ) {
        let (size, count) = (case.groups.size, case.groups.count(case.k));
        let mut wanted = Vec::new();
        for &id in &ids {
            let row = if id >= case.n as f32 { case.n - 1 } else { id.max(0.0) as usize };
            wanted.extend((0..case.k).map(|j| {
                f32::from(case.q[row * case.k + j]) * case.scales[row * count + j / size]
            }));
        }
        let mut y = alloc::vec![9.0; wanted.len()];
        embed_groups(case.groups, &case.bytes(), &case.scales, &ids, &mut y);
        prop_assert_eq!(bits(&y), bits(&wanted));
    }
}

/// More tokens than a block of them, divided among threads.
#[test]
fn many_tokens_are_computed_like_few_on_any_number_of_threads() {
    let (k, n, tokens) = (70, 37, 201);
    let groups = Groups { bits: 4, size: 32 };
    let numbers =
        |count: usize, by: usize| (0..count).map(move |i| ((i * by) % 211) as f32 / 105.0 - 1.0);
    let case = Case {
        groups,
        k,
        n,
        q: (0..n * k).map(|i| ((i * 7) % 16) as i8 - 8).collect(),
        scales: numbers(n * 3, 31).collect(),
        bias: numbers(n, 17).collect(),
        x: numbers(tokens * k, 7919).collect(),
        range: (0.0, f32::INFINITY),
    };
    let twin = bits(&case.twin());
    for isa in Isa::available() {
        let layer = case.layer(isa);
        assert_eq!(bits(&run(&layer, &case)), twin, "{isa}");
        if cfg!(target_family = "wasm") {
            continue;
        }
        for count in [2, 3, 16] {
            let mut threads = Threads::new(count).expect("threads of a test");
            assert_eq!(layer.parts(count), count);
            let mut y = alloc::vec![9.0; tokens * n];
            let mut scratch = alloc::vec![f32::NAN; layer.scratch_len() * count];
            layer.run_divided(&case.x, &mut y, &mut scratch, &mut threads);
            assert_eq!(bits(&y), twin, "{isa}, {count} threads");
        }
    }
}
