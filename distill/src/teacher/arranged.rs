//! A teacher that learnt with its numbers in another order than the data set gives them.

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;

use super::{Answer, Teacher};
use crate::Result;
use crate::fingerprint::Fingerprint;
use crate::interpreter::Nodes;

/// In which order a teacher gets the numbers of an image `[c, h, w]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Whether its first channel is the data's last.
    pub reversed: bool,
    /// Whether the channels of a pixel lie side by side, in a network that reads them flat.
    pub channels_last: bool,
}

impl Order {
    /// `images [n, c, h, w]` in this order, in the same shape; other samples as they are.
    pub fn apply(self, images: &Tensor) -> Result<Tensor> {
        let mut images = images.clone();
        if images.rank() != 4 {
            return Ok(images);
        }
        if self.reversed {
            let channels = images.dim(1)? as u32;
            let order = Tensor::from_iter((0..channels).rev(), images.device())?;
            images = images.contiguous()?.index_select(&order, 1)?;
        }
        if self.channels_last {
            let shape = images.shape().clone();
            images = images.permute((0, 2, 3, 1))?.contiguous()?.reshape(shape)?;
        }
        Ok(images)
    }
}

/// Hands images on in another order, after they were standardised in the data's.
pub(super) struct Arranged {
    inner: Box<dyn Teacher>,
    order: Order,
}

impl Arranged {
    /// `inner` itself where its order is the data's.
    pub(super) fn wrap(inner: Box<dyn Teacher>, order: Order) -> Box<dyn Teacher> {
        if order == Order::default() { inner } else { Box::new(Self { inner, order }) }
    }
}

impl Teacher for Arranged {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.inner.logits(&self.order.apply(images)?)
    }

    fn answer(&self, images: &Tensor, features: &[&str]) -> Result<Answer> {
        self.inner.answer(&self.order.apply(images)?, features)
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
        let Order { reversed, channels_last } = self.order;
        let mut fingerprint = Fingerprint::new();
        fingerprint.numbers([u64::from(reversed), u64::from(channels_last)].into_iter());
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
    use crate::teacher::stub::Echo;
    use candle_core::Device;

    fn echoed(reversed: bool, channels_last: bool) -> (Vec<f32>, String) {
        let teacher = Arranged::wrap(Box::new(Echo::new(6)), Order { reversed, channels_last });
        // Three channels of two pixels.
        let images = Tensor::arange(0.0_f32, 6.0, &Device::Cpu).unwrap();
        let images = images.reshape((1, 3, 1, 2)).unwrap();
        (values(&teacher.logits(&images).unwrap()), teacher.fingerprint())
    }

    #[test]
    fn numbers_arrive_in_the_order_that_was_asked_for() {
        let found = [(false, false), (true, false), (false, true), (true, true)];
        let found = found.map(|(reversed, last)| echoed(reversed, last));
        assert_eq!(found[0].0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(found[1].0, [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]);
        assert_eq!(found[2].0, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(found[3].0, [4.0, 2.0, 0.0, 5.0, 3.0, 1.0]);
        for (i, one) in found.iter().enumerate() {
            assert!(found[i + 1..].iter().all(|other| other.1 != one.1));
        }
    }
}
