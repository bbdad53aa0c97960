//! A teacher that gets bytes as numbers from 0 to 255 and standardises them itself, so that teachers
//! of different wishes can see the same batch.

use candle_core::Tensor;
use hipflask_runtime::input::{ImagePreprocess, Preprocess};

use super::Teacher;
use crate::Result;
use crate::fingerprint::Fingerprint;

/// How far rounding moves a byte on its way through a range of 0 to 255.
const ROUNDING: f64 = 1e-3;

/// A teacher with a standardisation before it.
pub(super) struct Restandardised {
    inner: Box<dyn Teacher>,
    own: ImagePreprocess,
    bytes: Preprocess,
}

impl Restandardised {
    /// `inner`, which wants bytes as `own` says.
    pub(super) fn new(inner: Box<dyn Teacher>, own: ImagePreprocess) -> Self {
        Self { inner, own, bytes: Preprocess::Image(Self::bytes()) }
    }

    /// Bytes as they are.
    pub(super) fn bytes() -> ImagePreprocess {
        ImagePreprocess { range: [0.0, 255.0], ..ImagePreprocess::default() }
    }
}

impl Teacher for Restandardised {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let channels = images.dim(1)?;
        let ImagePreprocess { range: [low, high], mean, std } = &self.own;
        // One for all channels, or one each.
        let of_channel = |values: &[f32]| {
            let values = values.iter().copied().cycle().take(channels).collect::<Vec<f32>>();
            Tensor::from_vec(values, (1, channels, 1, 1), images.device())
        };
        // Mixed images are between bytes; the others are put back on them, so that each becomes
        // the very number that `Preprocess::table` has for it.
        let whole = images.round()?;
        let near = (images - &whole)?.abs()?.lt(ROUNDING)?;
        let bytes = near.where_cond(&whole, images)?;
        // Divided, where candle's own `/ 255.0` multiplies with the reciprocal.
        let shares = bytes.broadcast_div(&of_channel(&[255.0])?)?;
        let ranged = ((shares * f64::from(high - low))? + f64::from(*low))?;
        let centred = ranged.broadcast_sub(&of_channel(mean)?)?;
        self.inner.logits(&centred.broadcast_div(&of_channel(std)?)?)
    }

    fn classes(&self) -> usize {
        self.inner.classes()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(self.inner.fingerprint().as_bytes());
        fingerprint.bytes(&serde_json::to_vec(&self.own).expect("plain data always serializes"));
        fingerprint.finish()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        Some(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::nn::gradcheck::values;
    use crate::teacher::stub::Echo;
    use candle_core::Device;

    /// What `Preprocess::bytes` makes of the bytes, and what the teacher then gets.
    fn standardised(own: &ImagePreprocess, bytes: &[f32], channels: usize) -> Vec<f32> {
        let teacher = Restandardised::new(Box::new(Echo::new(bytes.len())), own.clone());
        let shape = (1, channels, 1, bytes.len() / channels);
        let images = Tensor::from_slice(bytes, shape, &Device::Cpu).unwrap();
        values(&teacher.logits(&images).unwrap())
    }

    #[test]
    fn every_byte_becomes_what_its_table_has_to_the_bit() {
        let as_given = Restandardised::bytes().table(0);
        for (range, mean, std) in
            [([0.0, 1.0], 0.485, 0.229), ([-1.0, 1.0], 0.0, 1.0), ([0.0, 255.0], 123.675, 58.395)]
        {
            let own = ImagePreprocess { range, mean: vec![mean], std: vec![std] };
            assert_eq!(standardised(&own, &as_given, 1), own.table(0));
        }
    }

    #[test]
    fn channels_have_their_own_numbers_and_mixed_pixels_lie_between() {
        let own = ImagePreprocess { range: [0.0, 1.0], mean: vec![0.0, 0.5], std: vec![1.0, 0.25] };
        // 63.75 / 255 = 0.25 in channel 0; (0.25 - 0.5) / 0.25 = -1 in channel 1.
        assert_eq!(standardised(&own, &[63.75, 255.0, 63.75, 255.0], 2), [0.25, 1.0, -1.0, 2.0]);
    }
}
