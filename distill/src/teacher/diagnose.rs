//! Why a teacher guesses: its accuracy on samples that are standardised or ordered otherwise.

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use hipflask_runtime::input::{ImagePreprocess, Preprocess};

use super::{Order, Teacher};
use crate::Result;
use crate::data::{Batches, DataSet, Split};
use crate::evaluate::{Logits, accuracy, best};

/// Samples on which every guess is tried, and those on which the best few are scored.
const FIRST: usize = 64;
const SECOND: usize = 256;

/// Guesses that are scored on more samples.
const FEW: usize = 3;

/// Samples of one question to the teacher.
const BATCH: usize = 64;

/// After this long, no other guess is tried: a large teacher on one core answers a few a second.
const MOST_TIME: Duration = Duration::from_secs(40);

/// How many points better than now a guess must be.
const POINTS: f64 = 0.1;

/// What well-known data sets and toolboxes do with pixels: range, mean, std.
type Habit = ([f32; 2], &'static [f32], &'static [f32]);

const RANGES: [Habit; 3] =
    [([0.0, 1.0], &[0.0], &[1.0]), ([0.0, 255.0], &[0.0], &[1.0]), ([-1.0, 1.0], &[0.0], &[1.0])];
const COLOUR: [Habit; 3] = [
    // ImageNet (torchvision), CIFAR-10, and ImageNet in bytes (Caffe, Keras).
    ([0.0, 1.0], &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
    ([0.0, 1.0], &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
    ([0.0, 255.0], &[123.68, 116.779, 103.939], &[1.0]),
];
const GREY: [Habit; 5] = [
    // MNIST, Fashion-MNIST, and dark on light.
    ([0.0, 1.0], &[0.1307], &[0.3081]),
    ([0.0, 1.0], &[0.2860], &[0.3530]),
    ([1.0, 0.0], &[0.0], &[1.0]),
    ([255.0, 0.0], &[0.0], &[1.0]),
    ([1.0, -1.0], &[0.0], &[1.0]),
];

/// A way to hand images to a teacher, and how well it does with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// How bytes become numbers.
    pub preprocess: ImagePreprocess,
    /// In which order, relative to how the teacher gets them now.
    pub order: Order,
    /// Share of `samples` that it then recognises.
    pub accuracy: f64,
    /// How many were tried.
    pub samples: usize,
}

/// The few guesses with which `teacher` does at least ten points better than `present`, its accuracy
/// now, on samples of `split`, the best first; none where they are no images or have no labels.
///
/// Takes 40 seconds, or one pass over 256 samples more.
pub fn guesses(
    teacher: &dyn Teacher,
    data: &DataSet,
    split: &Split,
    present: f64,
) -> Result<Vec<Guess>> {
    let now = teacher.preprocess().unwrap_or(&data.preprocess);
    let (Preprocess::Image(now), Preprocess::Image(own), Some([channels, ..])) =
        (now, &data.preprocess, split.samples.image_shape())
    else {
        return Ok(Vec::new());
    };
    let trial = Trial { teacher, split };
    let start = Instant::now();
    let mut found = Vec::new();
    for (preprocess, order) in candidates(now, own, channels) {
        // The other half of the time is for the best few.
        if start.elapsed() > MOST_TIME / 2 {
            break;
        }
        found.extend(trial.score(&preprocess, order, FIRST)?);
    }
    // Stable: of equals, the one that was tried first.
    found.sort_by(|a: &Guess, b| b.accuracy.total_cmp(&a.accuracy));
    found.truncate(FEW);
    for guess in &mut found {
        if start.elapsed() > MOST_TIME {
            break;
        }
        if let Some(better) = trial.score(&guess.preprocess, guess.order, SECOND)? {
            *guess = better;
        }
    }
    found.retain(|guess| guess.accuracy >= present + POINTS);
    found.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    Ok(found)
}

/// All that is tried: each standardisation in the present order, then in the others.
fn candidates(
    now: &ImagePreprocess,
    data: &ImagePreprocess,
    channels: usize,
) -> Vec<(ImagePreprocess, Order)> {
    let of = |&(range, mean, std): &Habit| ImagePreprocess {
        range,
        mean: mean.to_vec(),
        std: std.to_vec(),
    };
    let habits = match channels {
        1 => RANGES.iter().chain(&GREY),
        3 => RANGES.iter().chain(&COLOUR),
        _ => RANGES.iter().chain(&[]),
    };
    let mut standards = vec![now.clone(), data.clone()];
    standards.extend(habits.map(of));
    let mut orders = vec![Order::default()];
    if channels > 1 {
        orders.push(Order { reversed: true, channels_last: false });
        orders.push(Order { reversed: false, channels_last: true });
    }
    let mut candidates = Vec::new();
    for order in orders {
        for standard in &standards {
            let present = order == Order::default() && standard == now;
            let candidate = (standard.clone(), order);
            if !present && !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
    }
    candidates
}

/// What is tried on whom.
struct Trial<'a> {
    teacher: &'a dyn Teacher,
    split: &'a Split,
}

impl Trial<'_> {
    /// The accuracy on `most` samples, spread evenly; `None` without labels.
    fn score(
        &self,
        preprocess: &ImagePreprocess,
        order: Order,
        most: usize,
    ) -> Result<Option<Guess>> {
        let samples = most.min(self.split.len());
        let indices: Vec<usize> = (0..samples).map(|i| i * self.split.len() / samples).collect();
        let split = self.split.select(&indices);
        let Some(labels) = split.labels.as_ref().filter(|labels| !labels.is_empty()) else {
            return Ok(None);
        };
        let mut logits = Logits::new(self.teacher.classes());
        for batch in Batches::new(&split, &Preprocess::Image(preprocess.clone()), BATCH)? {
            let images = Tensor::from_vec(batch.values, &batch.shape[..], &Device::Cpu)?;
            let answer = self.teacher.logits(&order.apply(&images)?)?;
            logits.values.extend(answer.flatten_all()?.to_vec1::<f32>()?);
        }
        let accuracy = accuracy(&logits, labels);
        Ok(Some(Guess { preprocess: preprocess.clone(), order, accuracy, samples }))
    }
}

/// For each of the teacher's classes the data's class that it mostly stands for, where the teacher
/// knows the classes (it would be right for 60 % or more) and has them in another order.
pub fn class_order(logits: &Logits, labels: &[u32]) -> Option<Vec<usize>> {
    let classes = logits.classes;
    let mut counts = vec![vec![0_usize; classes]; classes];
    for (row, &label) in logits.rows().zip(labels) {
        *counts.get_mut(best(row))?.get_mut(label as usize)? += 1;
    }
    let order: Vec<usize> = counts
        .iter()
        .map(|of| of.iter().enumerate().rev().max_by_key(|(_, count)| **count).map(|(l, _)| l))
        .collect::<Option<_>>()?;
    let right: usize = order.iter().zip(&counts).map(|(&label, of)| of[label]).sum();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let permutes = sorted.into_iter().eq(0..classes) && !order.iter().copied().eq(0..classes);
    (permutes && right * 10 >= labels.len() * 6).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_tried_once_and_the_present_one_not_again() {
        let now = ImagePreprocess::default();
        for (channels, count) in [(1, 7), (2, 8), (3, 17)] {
            let all = candidates(&now, &now, channels);
            assert_eq!(all.len(), count, "{channels} channels");
            assert!(!all.contains(&(now.clone(), Order::default())));
        }
    }

    #[test]
    fn a_permutation_of_the_classes_is_seen() {
        // Class 0 says 1, class 1 says 2, class 2 says 0; one of seven is wrong.
        let say = |class: usize| (0..3).map(move |c| if c == class { 1.0 } else { 0.0 });
        let said = [1, 1, 2, 2, 0, 0, 0];
        let labels = [0, 0, 1, 1, 2, 2, 1];
        let logits = Logits { classes: 3, values: said.into_iter().flat_map(say).collect() };
        assert_eq!(class_order(&logits, &labels), Some(vec![2, 0, 1]));
        // In their own order, or guessing: nothing to say.
        assert_eq!(class_order(&logits, &[1, 1, 2, 2, 0, 0, 0]), None);
        assert_eq!(class_order(&logits, &[0, 1, 2, 0, 1, 2, 0]), None);
    }
}
