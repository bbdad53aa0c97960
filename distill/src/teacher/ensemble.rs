//! Several teachers as one: the weighted mean of their logits, or of their probabilities.

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;
use serde::{Deserialize, Serialize};

use super::Teacher;
use super::restandardise::Restandardised;
use crate::fingerprint::Fingerprint;
use crate::nn::log_softmax;
use crate::{Error, ErrorKind, Result};

/// Of what an ensemble takes the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// `Σ wᵢ zᵢ / Σ wᵢ` of the logits: the geometric mean of the probabilities, normalised.
    #[default]
    Logits,
    /// `ln(Σ wᵢ softmax(zᵢ) / Σ wᵢ)`: the arithmetic mean of the probabilities, as logits.
    Probabilities,
}

/// One of several.
pub struct Member {
    /// The teacher.
    pub teacher: Box<dyn Teacher>,
    /// Its share in the mean, above 0; only the proportions count.
    pub weight: f64,
}

/// Teachers that answer together.
pub struct EnsembleTeacher {
    name: String,
    members: Vec<Member>,
    average: Average,
    /// What all members share, or bytes as they are for members that want different things.
    preprocess: Option<Preprocess>,
    classes: usize,
}

impl EnsembleTeacher {
    /// The mean of `members`, called `name`.
    ///
    /// `data` is how the data set standardises samples, and so what a member gets that wants nothing
    /// of its own. Fails when there is no member, a weight is not above 0, or two members differ in
    /// their number of classes.
    pub fn new(
        name: impl Into<String>,
        members: Vec<Member>,
        average: Average,
        data: &Preprocess,
    ) -> Result<Self> {
        let name = name.into();
        let refuse = |message: String| Err(Error::new(ErrorKind::Teacher, &name, message));
        let Some(first) = members.first() else {
            return refuse("an ensemble needs at least one member".into());
        };
        let classes = first.teacher.classes();
        for Member { teacher, weight } in &members {
            if !(weight.is_finite() && *weight > 0.0) {
                let message = format!("{} has weight {weight}: it must be above 0", teacher.name());
                return refuse(message);
            }
            if teacher.classes() != classes {
                return refuse(format!(
                    "{} tells {classes} classes apart, {} tells {}: the members of an ensemble have \
                     the same classes",
                    first.teacher.name(),
                    teacher.name(),
                    teacher.classes()
                ));
            }
        }
        let wishes: Vec<Preprocess> =
            members.iter().map(|m| m.teacher.preprocess().unwrap_or(data).clone()).collect();
        if wishes.windows(2).all(|pair| pair[0] == pair[1]) {
            let preprocess = first.teacher.preprocess().cloned();
            return Ok(Self { name, members, average, preprocess, classes });
        }
        let members = members.into_iter().zip(wishes);
        let members = members.map(|(Member { teacher, weight }, own)| {
            let own = own.image(teacher.name())?.clone();
            Ok(Member { teacher: Box::new(Restandardised::new(teacher, own)), weight })
        });
        let members = members.collect::<Result<_>>()?;
        let preprocess = Some(Preprocess::Image(Restandardised::bytes()));
        Ok(Self { name, members, average, preprocess, classes })
    }

    /// The answer `[n, classes]` of the ensemble, from those of its members in their order.
    ///
    /// Panics when there are not as many answers as members.
    pub fn mean(&self, answers: &[Tensor]) -> Result<Tensor> {
        assert_eq!(answers.len(), self.members.len(), "one answer a member");
        let weights = self.members.iter().map(|member| member.weight);
        mean_answer(self.average, &weights.zip(answers).collect::<Vec<_>>())
    }
}

/// The mean of answers `[n, classes]` with their weights, as logits; at least one.
pub(crate) fn mean_answer(average: Average, answers: &[(f64, &Tensor)]) -> Result<Tensor> {
    let total: f64 = answers.iter().map(|(weight, _)| weight).sum();
    let mut mean: Option<Tensor> = None;
    for (weight, logits) in answers {
        let share = weight / total;
        mean = Some(match (mean, average) {
            (None, Average::Logits) => (*logits * share)?,
            (Some(mean), Average::Logits) => (mean + (*logits * share)?)?,
            (None, Average::Probabilities) => (log_softmax(logits)? + share.ln())?,
            (Some(mean), Average::Probabilities) => {
                log_of_sum(&mean, &(log_softmax(logits)? + share.ln())?)?
            }
        });
    }
    mean.ok_or_else(|| Error::new(ErrorKind::Teacher, "ensemble", "has no members"))
}

impl Teacher for EnsembleTeacher {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let answers = self.members.iter().map(|member| member.teacher.logits(images));
        self.mean(&answers.collect::<Result<Vec<_>>>()?)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(b"ensemble");
        let said = serde_json::to_vec(&(self.average, &self.preprocess));
        fingerprint.bytes(&said.expect("plain data always serializes"));
        for Member { teacher, weight } in &self.members {
            fingerprint.numbers([weight.to_bits()].into_iter());
            fingerprint.bytes(teacher.fingerprint().as_bytes());
        }
        fingerprint.finish()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }
}

/// `ln(exp a + exp b)`, element by element, without overflow and without losing small values.
fn log_of_sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (larger, smaller) = (a.maximum(b)?, a.minimum(b)?);
    Ok((&larger + (((smaller - &larger)?.exp()? + 1.0)?.log()?))?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::nn::gradcheck::values;
    use crate::teacher::stub::{Echo, Fixed};
    use candle_core::{DType, Device};
    use hipflask_runtime::input::ImagePreprocess;

    fn member(logits: &[f32], weight: f64) -> Member {
        Member { teacher: Box::new(Fixed::new(logits)), weight }
    }

    fn ensemble(members: Vec<Member>, average: Average) -> Result<EnsembleTeacher> {
        EnsembleTeacher::new("several", members, average, &Preprocess::default())
    }

    fn mean(members: Vec<Member>, average: Average) -> Vec<f32> {
        let images = Tensor::zeros((2, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        let logits = ensemble(members, average).unwrap().logits(&images).unwrap();
        assert_eq!(logits.dim(0).unwrap(), 2);
        values(&logits.get(1).unwrap())
    }

    #[test]
    fn logits_are_averaged_by_their_weights() {
        // (1·4 + 3·0) / 4 and (1·(-2) + 3·2) / 4.
        let members = vec![member(&[4.0, -2.0], 1.0), member(&[0.0, 2.0], 3.0)];
        assert_eq!(mean(members, Average::Logits), [1.0, 1.0]);
    }

    #[test]
    fn probabilities_are_averaged_by_their_weights() {
        // softmax(0, ln 3) = (1/4, 3/4); with (1/2, 1/2) twice as heavy: (5/12, 7/12).
        let members = vec![member(&[0.0, 3.0_f32.ln()], 1.0), member(&[5.0, 5.0], 2.0)];
        let found = mean(members, Average::Probabilities);
        for (found, expected) in found.iter().zip([5.0_f32 / 12.0, 7.0 / 12.0]) {
            assert!((found.exp() - expected).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn sure_members_that_disagree_leave_finite_logits() {
        let members = || vec![member(&[1000.0, -1000.0], 1.0), member(&[-1000.0, 1000.0], 1.0)];
        // Half the probability each: ln 1/2.
        for found in mean(members(), Average::Probabilities) {
            assert!((found - 0.5_f32.ln()).abs() < 1e-6, "{found}");
        }
        assert_eq!(mean(members(), Average::Logits), [0.0, 0.0]);
        let agreed = vec![member(&[1000.0, -1000.0], 1.0), member(&[1000.0, -1000.0], 1.0)];
        assert_eq!(mean(agreed, Average::Probabilities), [0.0, -2000.0]);
    }

    #[test]
    fn each_member_gets_samples_as_it_wants_them() {
        let own =
            |range| Preprocess::Image(ImagePreprocess { range, ..ImagePreprocess::default() });
        let echo = |wish: Option<Preprocess>| Member {
            teacher: Box::new(Echo { wish, ..Echo::new(2) }),
            weight: 1.0,
        };
        let both = |a, b| {
            EnsembleTeacher::new("e", vec![echo(a), echo(b)], Average::Logits, &own([0.0, 1.0]))
        };
        // Those of one wish share it: the batch is standardised once, as for a single teacher.
        let same = both(Some(own([-1.0, 1.0])), Some(own([-1.0, 1.0]))).unwrap();
        assert_eq!(same.preprocess(), Some(&own([-1.0, 1.0])));
        assert_eq!(both(None, Some(own([0.0, 1.0]))).unwrap().preprocess(), None);
        // Else bytes: 0 is 0 and -1, 255 is 1 and 1; their means.
        let mixed = both(None, Some(own([-1.0, 1.0]))).unwrap();
        let table = mixed.preprocess().unwrap().image("mixed").unwrap().table(0);
        let images = Tensor::new(&[table[0], table[255]], &Device::Cpu).unwrap();
        let found = mixed.logits(&images.reshape((1, 1, 1, 2)).unwrap()).unwrap();
        assert_eq!(values(&found), [-0.5, 1.0]);
    }

    #[test]
    fn members_that_do_not_fit_are_refused() {
        let error = |members| ensemble(members, Average::Logits).err().unwrap().to_string();
        assert!(error(Vec::new()).contains("at least one member"));
        let weightless = error(vec![member(&[0.0], 1.0), member(&[0.0], 0.0)]);
        assert!(weightless.contains("has weight 0: it must be above 0"), "{weightless}");
        let uneven = error(vec![member(&[0.0, 1.0], 1.0), member(&[0.0], 1.0)]);
        assert!(uneven.contains("tells 2 classes apart, fixed tells 1"), "{uneven}");
    }

    #[test]
    fn the_fingerprint_follows_members_weights_and_average() {
        let of = |members, average| ensemble(members, average).unwrap().fingerprint();
        let pair = |weight| vec![member(&[1.0], 1.0), member(&[2.0], weight)];
        let first = of(pair(1.0), Average::Logits);
        assert_eq!(of(pair(1.0), Average::Logits), first);
        let swapped = vec![member(&[2.0], 1.0), member(&[1.0], 1.0)];
        for other in [
            of(pair(2.0), Average::Logits),
            of(pair(1.0), Average::Probabilities),
            of(swapped, Average::Logits),
            of(vec![member(&[1.0], 1.0)], Average::Logits),
        ] {
            assert_ne!(other, first);
        }
    }
}
