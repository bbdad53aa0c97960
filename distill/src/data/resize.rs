//! Scaling of images when they are read: the mean of the covered area where a dimension shrinks,
//! bilinear between pixel centres where it grows.

/// What one output position takes from the input: positions and weights that sum to 1.
type Taps = Vec<(usize, f64)>;

/// Scales images `[c, h, w]` that lie one after another to `[c, to_h, to_w]`.
pub(super) fn resize(pixels: &[u8], [c, h, w]: [usize; 3], [to_h, to_w]: [usize; 2]) -> Vec<u8> {
    let (rows, columns) = (taps(h, to_h), taps(w, to_w));
    let planes = pixels.len() / (h * w).max(1);
    debug_assert_eq!(planes % c.max(1), 0, "whole images");
    let mut output = Vec::with_capacity(planes * to_h * to_w);
    // [h, to_w]: every row scaled before the columns are.
    let mut narrowed = vec![0.0; h * to_w];
    for plane in pixels.chunks_exact((h * w).max(1)) {
        for (row, narrow) in plane.chunks_exact(w).zip(narrowed.chunks_exact_mut(to_w)) {
            for (value, taps) in narrow.iter_mut().zip(&columns) {
                *value = taps.iter().map(|&(x, weight)| f64::from(row[x]) * weight).sum();
            }
        }
        for taps in &rows {
            for x in 0..to_w {
                let value: f64 =
                    taps.iter().map(|&(y, weight)| narrowed[y * to_w + x] * weight).sum();
                output.push(value.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    output
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|i| if to < from { area(i, scale, from) } else { bilinear(i, scale, from) })
        .collect()
}

/// The pixels that `[i, i + 1) · scale` overlaps, by length.
fn area(i: usize, scale: f64, from: usize) -> Taps {
    let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
    let overlap = |x: usize| (end.min((x + 1) as f64) - start.max(x as f64)).max(0.0) / scale;
    (start as usize..from.min(end.ceil() as usize)).map(|x| (x, overlap(x))).collect()
}

/// The two pixels whose centres lie beside the output's centre.
fn bilinear(i: usize, scale: f64, from: usize) -> Taps {
    let centre = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
    let left = centre as usize;
    let share = centre - left as f64;
    vec![(left, 1.0 - share), ((left + 1).min(from - 1), share)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halving_takes_the_mean_of_four() {
        let image = [0, 4, 10, 20, 8, 12, 30, 41];
        assert_eq!(resize(&image, [1, 2, 4], [1, 2]), [6, 25]);
    }

    #[test]
    fn shrinking_28_to_8_weighs_partly_covered_pixels() {
        // 28 / 8 = 3.5: the first output takes pixels 0, 1, 2 and half of 3: 100 · 0.5 / 3.5 = 14.3.
        let mut row = vec![0; 28];
        row[3] = 100;
        assert_eq!(resize(&row, [1, 1, 28], [1, 8]), [14, 14, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn doubling_interpolates_between_centres() {
        // Centres at -0.25 (clamped), 0.25, 0.75, 1.25 (clamped).
        assert_eq!(resize(&[0, 100], [1, 1, 2], [1, 4]), [0, 25, 75, 100]);
    }

    #[test]
    fn channels_and_images_stay_apart() {
        let two_images_of_two_channels = [1, 1, 2, 2, 3, 3, 4, 4];
        let resized = resize(&two_images_of_two_channels, [2, 1, 2], [1, 1]);
        assert_eq!(resized, [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn a_constant_image_stays_constant(
            value: u8, h in 1_usize..40, w in 1_usize..40, to_h in 1_usize..40, to_w in 1_usize..40,
        ) {
            let resized = resize(&vec![value; h * w], [1, h, w], [to_h, to_w]);
            prop_assert_eq!(resized, vec![value; to_h * to_w]);
        }

        #[test]
        fn the_same_size_changes_nothing(pixels in prop::collection::vec(any::<u8>(), 12)) {
            prop_assert_eq!(resize(&pixels, [1, 3, 4], [3, 4]), pixels);
        }
    }
}
