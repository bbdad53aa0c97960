//! Test samples from the training files, where there are no files of their own.

use std::collections::BTreeMap;

use super::Split;
use crate::random::{self, Stream};
use crate::{Error, ErrorKind, Result};

/// Sets the share `fraction` of each class apart (of all samples where there are no labels), chosen
/// at random: the training and the test samples, each in the order of the files.
pub(super) fn set_apart(split: &Split, fraction: f64, seed: u64) -> Result<[Split; 2]> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(wrong(format!("{fraction}: it must be above 0 and below 1")));
    }
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for index in 0..split.len() {
        let class = split.labels.as_ref().map_or(0, |labels| labels[index]);
        classes.entry(class).or_default().push(index);
    }
    let mut test = Vec::new();
    for (class, members) in classes {
        let mut stream = Stream::new(seed, "test", &[class.into()]);
        let order = random::permutation(members.len(), &mut stream);
        let count = (members.len() as f64 * fraction).round() as usize;
        test.extend(order.into_iter().take(count).map(|place| members[place]));
    }
    test.sort_unstable();
    let train: Vec<usize> = (0..split.len()).filter(|i| test.binary_search(i).is_err()).collect();
    if train.is_empty() || test.is_empty() {
        let what = format!("{fraction} of {} samples leaves one part empty", split.len());
        return Err(wrong(what));
    }
    Ok([split.select(&train), split.select(&test)])
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Data, "data.test_fraction", message)
}
