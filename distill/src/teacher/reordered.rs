//! A teacher that learnt the task's classes in another order than the data set has them.

use candle_core::{Device, Tensor};
use hipflask_runtime::input::Preprocess;

use super::{Answer, Teacher};
use crate::fingerprint::Fingerprint;
use crate::interpreter::Nodes;
use crate::{Error, ErrorKind, Result};

/// Hands logits on in the data's order of the classes.
pub(super) struct Reordered {
    inner: Box<dyn Teacher>,
    /// For each of the data's classes the teacher's.
    columns: Vec<u32>,
}

impl Reordered {
    /// `inner`, of whose classes `order` says which of the data's they are.
    ///
    /// Fails unless `order` has each class once.
    pub(super) fn wrap(inner: Box<dyn Teacher>, order: &[usize]) -> Result<Box<dyn Teacher>> {
        let classes = inner.classes();
        let place = |class| order.iter().position(|&c| c == class).map(|place| place as u32);
        let columns: Option<Vec<u32>> = (0..classes).map(place).collect();
        let Some(columns) = columns.filter(|_| order.len() == classes) else {
            let message = format!(
                "class_order = {order:?} must have each class from 0 to {} once: for each of the \
                 teacher's classes the data's class that it is",
                classes.saturating_sub(1)
            );
            return Err(Error::new(ErrorKind::Teacher, inner.name(), message));
        };
        Ok(Box::new(Self { inner, columns }))
    }
}

impl Teacher for Reordered {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.answer(images, &[])?.logits)
    }

    fn answer(&self, images: &Tensor, features: &[&str]) -> Result<Answer> {
        let Answer { logits, features } = self.inner.answer(images, features)?;
        let columns = Tensor::new(&self.columns[..], &Device::Cpu)?.to_device(logits.device())?;
        Ok(Answer { logits: logits.contiguous()?.index_select(&columns, 1)?, features })
    }

    fn nodes(&self) -> Option<&Nodes> {
        self.inner.nodes()
    }

    fn classes(&self) -> usize {
        self.inner.classes()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(b"class order");
        fingerprint.numbers(self.columns.iter().map(|&column| u64::from(column)));
        fingerprint.bytes(self.inner.fingerprint().as_bytes());
        fingerprint.finish()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.inner.preprocess()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::nn::gradcheck::values;
    use crate::teacher::stub::Fixed;

    fn fixed() -> Box<dyn Teacher> {
        Box::new(Fixed::new(&[0.5, 1.5, 2.5]))
    }

    #[test]
    fn each_logit_goes_to_the_class_that_it_stands_for() {
        // The teacher's class 0 is the data's 2, its 1 is 0, its 2 is 1.
        let teacher = Reordered::wrap(fixed(), &[2, 0, 1]).unwrap();
        let images = Tensor::zeros((1, 1, 1, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(values(&teacher.logits(&images).unwrap()), [1.5, 2.5, 0.5]);
        let other = Reordered::wrap(fixed(), &[0, 2, 1]).unwrap();
        let prints = [teacher.fingerprint(), other.fingerprint(), fixed().fingerprint()];
        assert!(prints[0] != prints[1] && prints[0] != prints[2], "{prints:?}");
    }

    #[test]
    fn an_order_that_is_none_is_refused() {
        for order in [&[0, 1][..], &[0, 1, 1], &[1, 2, 3], &[0, 1, 2, 2]] {
            let error = Reordered::wrap(fixed(), order).err().unwrap().to_string();
            assert!(error.contains("each class from 0 to 2 once"), "{error}");
        }
    }
}
