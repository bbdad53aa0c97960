//! Out of memory on the device: which batch would have fitted.

use super::run::Run;
use crate::data::Batch;
use crate::{Error, ErrorKind};

impl Run<'_> {
    /// The `error` of a step on `batch`, batch `step` of epoch `epoch`, both from 0. Where the device
    /// ran out of memory it tries halves of the batch and says which fits. The networks are of no use
    /// after that.
    pub(super) fn explained(
        &mut self,
        error: Error,
        batch: &Batch,
        epoch: usize,
        step: usize,
    ) -> Error {
        if error.kind() != ErrorKind::Memory {
            return error;
        }
        let fits = |&count: &usize| match self.step(&batch.first(count), epoch, step) {
            Ok(_) => true,
            // Another error came after all was allocated.
            Err(error) => error.kind() != ErrorKind::Memory,
        };
        let (size, found) = (batch.indices.len(), largest_that_fits(batch.indices.len(), fits));
        let spec = self.training.spec;
        let advice = match found {
            Some(count) => format!(
                "{count} samples fit (found by halving, with a step on each half): set batch_size = \
                 {count} with accumulate = {}, which makes steps of as many samples",
                spec.accumulate * spec.batch_size.div_ceil(count)
            ),
            None => "not even one sample fits: take a smaller network or smaller samples".into(),
        };
        let message = format!("out of memory in a batch of {size} samples ({error}); {advice}");
        Error::new(ErrorKind::Memory, self.training.role, message)
    }
}

/// The first of `batch / 2`, `batch / 4`, … samples that fit.
fn largest_that_fits(batch: usize, fits: impl FnMut(&usize) -> bool) -> Option<usize> {
    let halves = std::iter::successors(Some(batch / 2), |half| Some(half / 2));
    halves.take_while(|&half| half > 0).find(fits)
}

#[cfg(test)]
mod tests {
    use super::largest_that_fits;

    #[test]
    fn batches_are_halved_until_one_fits() {
        let mut tried = Vec::new();
        let found = largest_that_fits(500, |&n| {
            tried.push(n);
            n <= 70
        });
        assert_eq!((found, tried), (Some(62), vec![250, 125, 62]));
        assert_eq!(largest_that_fits(4, |_| false), None);
        assert_eq!(largest_that_fits(1, |_| true), None);
    }
}
