//! Which shape a network's input gets: what its file says, set beside the samples of the data.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

/// Most samples of one run.
const MOST_SAMPLES: usize = 4096;

/// The input for samples of shape `sample`, the batch first; `dims` is what the file says, where a
/// dimension that is left open is `None`.
///
/// The samples fit where the numbers lie in the same order: with axes of size 1 more or less, or
/// flat. A batch that is left open becomes 1.
pub(super) fn input_shape(
    dims: Option<&[Option<usize>]>,
    sample: &[usize],
    channels_last: bool,
) -> Result<Vec<usize>, String> {
    let ordered = |last: bool| match *sample {
        [c, h, w] if last => vec![h, w, c],
        _ => sample.to_vec(),
    };
    let wanted = ordered(channels_last);
    let Some(dims) = dims else { return Ok([&[1], &wanted[..]].concat()) };
    let said = || {
        let size = |dim: &Option<usize>| dim.map_or("?".into(), |size| size.to_string());
        dims.iter().map(size).collect::<Vec<_>>().join(", ")
    };
    let Some((&batch, dims)) = dims.split_first() else {
        return Err("takes a single number: a teacher takes batches of samples".into());
    };
    let batch = batch.unwrap_or(1);
    if let Some(fitting) = fit(dims, &wanted) {
        if !(1..=MOST_SAMPLES).contains(&batch) {
            return Err(format!("takes {batch} samples at once: 1 to {MOST_SAMPLES} is possible"));
        }
        return Ok([&[batch], &fitting[..]].concat());
    }
    let hint = match (channels_last, fit(dims, &ordered(!channels_last)).is_some()) {
        (false, true) => ", the channels last: write layout = \"nhwc\"",
        (true, true) => ", the channels first: leave out layout = \"nhwc\"",
        _ => "",
    };
    Err(format!("takes [{}]{hint}; the data set gives samples {wanted:?} in batches", said()))
}

/// `dims` with every size known, if samples of shape `wanted` fit in.
fn fit(dims: &[Option<usize>], wanted: &[usize]) -> Option<Vec<usize>> {
    let same = |dims: &[Option<usize>], sizes: &[usize]| {
        let fits = |(dim, size): (&Option<usize>, &usize)| dim.is_none_or(|dim| dim == *size);
        dims.len() == sizes.len() && dims.iter().zip(sizes).all(fits)
    };
    if same(dims, wanted) {
        return Some(wanted.to_vec());
    }
    let flat = [wanted.iter().copied().fold(1, usize::saturating_mul)];
    if same(dims, &flat) {
        return Some(flat.to_vec());
    }
    let known: Vec<usize> = dims.iter().copied().collect::<Option<_>>()?;
    let larger = |sizes: &[usize]| sizes.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    (larger(&known) == larger(wanted)).then_some(known)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn shape(dims: &[usize], sample: &[usize], last: bool) -> Result<Vec<usize>, String> {
        // 0 stands for a dimension that is left open.
        let dims: Vec<Option<usize>> = dims.iter().map(|&d| (d > 0).then_some(d)).collect();
        input_shape(Some(&dims), sample, last)
    }

    #[test]
    fn open_dimensions_are_filled_and_fixed_ones_kept() {
        assert_eq!(input_shape(None, &[3, 8, 6], false), Ok(vec![1, 3, 8, 6]));
        assert_eq!(input_shape(None, &[3, 8, 6], true), Ok(vec![1, 8, 6, 3]));
        assert_eq!(shape(&[0, 3, 0, 0], &[3, 8, 6], false), Ok(vec![1, 3, 8, 6]));
        assert_eq!(shape(&[16, 3, 8, 6], &[3, 8, 6], false), Ok(vec![16, 3, 8, 6]));
        assert_eq!(shape(&[4, 8, 6, 3], &[3, 8, 6], true), Ok(vec![4, 8, 6, 3]));
        assert_eq!(shape(&[0, 13], &[13], false), Ok(vec![1, 13]));
    }

    #[test]
    fn samples_fit_where_their_numbers_lie_in_the_same_order() {
        assert_eq!(shape(&[0, 784], &[1, 28, 28], false), Ok(vec![1, 784]));
        assert_eq!(shape(&[0, 0], &[1, 28, 28], false), Ok(vec![1, 784]));
        // With one channel it makes no difference where it stands.
        assert_eq!(shape(&[2, 28, 28, 1], &[1, 28, 28], false), Ok(vec![2, 28, 28, 1]));
        assert_eq!(shape(&[0, 28, 28], &[1, 28, 28], false), Ok(vec![1, 28, 28]));
        assert_eq!(shape(&[0, 1, 1, 5], &[5], false), Ok(vec![1, 1, 1, 5]));
        assert!(shape(&[0, 28, 28], &[3, 28, 28], false).is_err());
    }

    #[test]
    fn the_other_layout_is_named() {
        let error = shape(&[0, 8, 6, 3], &[3, 8, 6], false).unwrap_err();
        assert!(error.contains("takes [?, 8, 6, 3], the channels last: write layout"), "{error}");
        let error = shape(&[0, 3, 8, 6], &[3, 8, 6], true).unwrap_err();
        assert!(error.contains("the channels first: leave out layout"), "{error}");
        let error = shape(&[0, 1, 5, 5], &[3, 8, 6], false).unwrap_err();
        assert_eq!(error, "takes [?, 1, 5, 5]; the data set gives samples [3, 8, 6] in batches");
        assert!(shape(&[5000, 3, 8, 6], &[3, 8, 6], false).unwrap_err().contains("5000 samples"));
        assert!(input_shape(Some(&[]), &[3, 8, 6], false).is_err());
    }
}
