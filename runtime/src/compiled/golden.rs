//! Golden samples of a compiled network.

use core::ops::Range;

use crate::golden::{FNV_OFFSET, fnv1a};

use super::i8s;

/// Recorded inputs with the exact answers, as constants.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// int8 inputs, one sample after another.
    pub inputs: &'static [u8],
    /// Bytes of the f32 outputs, one sample after another.
    pub outputs: &'static [u8],
    /// Elements of an input, bytes of an output.
    pub sizes: (usize, usize),
    /// Name of each value that the network computes, and the digest of it over all samples, where
    /// one was recorded.
    pub values: &'static [(&'static str, Option<u64>)],
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Samples run.
    pub samples: usize,
    /// Samples whose output has the recorded bits.
    pub equal: usize,
    /// First value whose digest differs.
    pub first_divergence: Option<&'static str>,
}

impl Verdict {
    /// Whether every sample and every digest came out as recorded.
    pub fn passed(&self) -> bool {
        self.equal == self.samples && self.first_divergence.is_none()
    }
}

impl Golden {
    /// Runs the samples and compares what is then at `output` in the arena. `run` computes all values
    /// of an input and calls its last argument with the number and the bytes of each; `VALUES` is how
    /// many there are.
    pub fn verify<const VALUES: usize>(
        &self,
        arena: &mut [u8],
        output: Range<usize>,
        run: impl Fn(&mut [u8], &[i8], &mut dyn FnMut(usize, &[u8])),
    ) -> Verdict {
        let mut hashes = [FNV_OFFSET; VALUES];
        let mut verdict = Verdict { samples: 0, equal: 0, first_divergence: None };
        let wanted = self.outputs.chunks_exact(self.sizes.1);
        for (input, wanted) in i8s(self.inputs).chunks_exact(self.sizes.0).zip(wanted) {
            run(arena, input, &mut |value, bytes| fnv1a(&mut hashes[value], bytes));
            verdict.samples += 1;
            verdict.equal += usize::from(&arena[output.clone()] == wanted);
        }
        let differs = |((_, digest), hash): &(&(&str, Option<u64>), &u64)| {
            digest.is_some_and(|digest| digest != **hash)
        };
        let found = self.values.iter().zip(&hashes).find(differs);
        verdict.first_divergence = found.map(|((name, _), _)| *name);
        verdict
    }
}
