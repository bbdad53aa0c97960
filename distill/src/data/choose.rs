//! Which training samples are held out, left out or repeated.

use super::{DataSpec, Split};
use crate::random::{self, Stream};
use crate::{Error, ErrorKind, Result};

/// Sets `validation` random samples apart and keeps at most `limit` of the rest, each in file order.
pub(super) fn hold_out(train: Split, spec: &DataSpec, seed: u64) -> Result<(Split, Option<Split>)> {
    let held = spec.validation;
    if held > 0 && held >= train.len() {
        let what = format!("{held} samples held out of {}: leave some to train on", train.len());
        return Err(wrong("data.validation", what));
    }
    if spec.limit == Some(0) {
        return Err(wrong(
            "data.limit",
            "0 leaves nothing to train on: leave the key out for all samples",
        ));
    }
    if held == 0 && spec.limit.is_none_or(|limit| limit >= train.len()) {
        return Ok((train, None));
    }
    let mut order = random::permutation(train.len(), &mut Stream::new(seed, "validation", &[]));
    if spec.stratify && held > 0 {
        order = shares_first(order, labels(&train, "data.stratify")?, held);
    }
    let (first, rest) = order.split_at(held);
    let kept = &rest[..rest.len().min(spec.limit.unwrap_or(usize::MAX))];
    let sorted = |indices: &[usize]| {
        let mut indices = indices.to_vec();
        indices.sort_unstable();
        train.select(&indices)
    };
    Ok((sorted(kept), (held > 0).then(|| sorted(first))))
}

/// `order` with `held` samples first, of each class its share, rounded to a whole number by the largest
/// remainders.
fn shares_first(order: Vec<usize>, labels: &[u32], held: usize) -> Vec<usize> {
    let counts = counts(labels);
    let exact = |class: usize| counts[class] * held;
    let mut shares: Vec<usize> = (0..counts.len()).map(|c| exact(c) / labels.len()).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(exact(class) % labels.len()));
    let left = held - shares.iter().sum::<usize>();
    by_remainder.iter().take(left).for_each(|&class| shares[class] += 1);
    let (first, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&sample| {
        let share = &mut shares[labels[sample] as usize];
        let chosen = *share > 0;
        *share -= usize::from(chosen);
        chosen
    });
    [first, rest].concat()
}

/// The samples, and after them more of each class until it has as many as the most frequent: all of
/// its samples again and again, and a random choice of them at the end.
pub(super) fn balanced(train: &Split, seed: u64) -> Result<Split> {
    let labels = labels(train, "data.oversample")?;
    let counts = counts(labels);
    let most = counts.iter().max().copied().unwrap_or(0);
    let mut indices: Vec<usize> = (0..labels.len()).collect();
    for (class, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        let own: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] as usize == class).collect();
        let stream = &mut Stream::new(seed, "oversample", &[class as u64]);
        let mut missing = most - count;
        while missing > 0 {
            let order = random::permutation(count, stream);
            indices.extend(order.into_iter().take(missing).map(|i| own[i]));
            missing = missing.saturating_sub(count);
        }
    }
    Ok(train.select(&indices))
}

fn labels<'a>(train: &'a Split, key: &str) -> Result<&'a [u32]> {
    train.labels.as_deref().ok_or_else(|| {
        wrong(key, "goes by the classes, and the training samples have none: leave it out")
    })
}

/// Samples of each class.
fn counts(labels: &[u32]) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |&highest| highest as usize + 1);
    let mut counts = vec![0; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    counts
}

fn wrong(at: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, at, message)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::data::Samples;

    /// Samples that hold their own number.
    fn split(labels: &[u32]) -> Split {
        let pixels = (0..labels.len()).map(|i| i as u8).collect();
        Split {
            samples: Samples::Images { shape: [1, 1, 1], pixels },
            labels: Some(labels.to_vec()),
        }
    }

    fn per_class(split: &Split) -> Vec<usize> {
        counts(split.labels.as_ref().unwrap())
    }

    #[test]
    fn every_class_has_its_share_of_the_samples_held_out() {
        // 50, 30 and 20 samples.
        let labels: Vec<u32> = (0..100).map(|i| [0, 1, 0, 2, 0, 1, 0, 2, 0, 1][i % 10]).collect();
        for (held, shares) in [(10, [5, 3, 2]), (20, [10, 6, 4]), (11, [6, 3, 2])] {
            let spec = DataSpec { validation: held, stratify: true, ..DataSpec::default() };
            let (train, validation) = hold_out(split(&labels), &spec, 7).unwrap();
            let validation = validation.unwrap();
            // Of 11: 5.5, 3.3 and 2.2, so that the first is rounded up.
            assert_eq!(per_class(&validation), shares, "{held}");
            assert_eq!(train.len() + validation.len(), 100);
            let other = hold_out(split(&labels), &spec, 8).unwrap().1.unwrap();
            assert_eq!(per_class(&other), shares);
            assert_ne!(other, validation);
        }
    }

    #[test]
    fn rarer_classes_are_repeated_until_all_are_equally_frequent() {
        // Ten of class 0, four of class 2, one of class 3, none of class 1.
        let labels: Vec<u32> = (0..15).map(|i| [0, 2, 0, 0, 2, 0, 0, 3][i % 8]).collect();
        let all = split(&labels);
        let balanced = balanced(&all, 1).unwrap();
        assert_eq!(per_class(&all), [10, 0, 4, 1]);
        assert_eq!(per_class(&balanced), [10, 0, 10, 10]);
        assert_eq!(balanced.select(&(0..15).collect::<Vec<_>>()), all);
        let times =
            |sample: u8| (0..30).filter(|&i| balanced.samples.image(i) == Some(&[sample])).count();
        for (sample, label) in (0..15).zip(labels) {
            let range = [1..=1, 0..=0, 2..=3, 10..=10][label as usize].clone();
            assert!(range.contains(&times(sample)), "{sample}: {}", times(sample));
        }
    }

    #[test]
    fn classes_are_needed_for_what_goes_by_classes() {
        let unlabelled = Split { labels: None, ..split(&[0, 1]) };
        let error = balanced(&unlabelled, 1).unwrap_err().to_string();
        assert!(error.starts_with("data.oversample: goes by the classes"), "{error}");
        let spec = DataSpec { validation: 1, stratify: true, ..DataSpec::default() };
        let error = hold_out(unlabelled, &spec, 1).unwrap_err().to_string();
        assert!(error.starts_with("data.stratify: "), "{error}");
    }
}
