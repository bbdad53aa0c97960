//! Each change against hand computation or Pillow, and how it is written.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

const SHAPE: [usize; 3] = [2, 3, 3];

fn image() -> Vec<u8> {
    (1..=18).collect()
}

#[test]
fn every_crop_is_a_shifted_window_of_the_padded_image() {
    let mut seen = std::collections::BTreeSet::new();
    for sample in 0..200 {
        let mut pixels = image();
        Augment::Crop(1).apply(&mut pixels, SHAPE, &mut Stream::new(1, "crop", &[sample]));
        // The channels hold 1..=9 and 10..=18: where one is inside, so is the other.
        for (first, second) in pixels[..9].iter().zip(&pixels[9..]) {
            assert!((*first == 0 && *second == 0) || first + 9 == *second, "{pixels:?}");
        }
        seen.insert(pixels);
    }
    // Shifts of -1, 0, 1 in both directions.
    assert_eq!(seen.len(), 9);
    assert!(seen.contains(&image()));
    let up_left = [0, 0, 0, 0, 1, 2, 0, 4, 5, 0, 0, 0, 0, 10, 11, 0, 13, 14].to_vec();
    assert!(seen.contains(&up_left), "{seen:?}");
}

#[test]
fn flip_mirrors_about_half_of_the_images() {
    let mirrored = [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10, 15, 14, 13, 18, 17, 16];
    let mut flips = 0;
    for sample in 0..1000 {
        let mut pixels = image();
        Augment::Flip.apply(&mut pixels, SHAPE, &mut Stream::new(1, "flip", &[sample]));
        if pixels == mirrored {
            flips += 1;
        } else {
            assert_eq!(pixels, image());
        }
    }
    // Binomial: standard deviation 16.
    assert!((420..580).contains(&flips), "{flips}");
}

#[test]
fn texts_are_parsed_and_errors_name_the_valid_forms() {
    let parse = |text: &str| Augment::try_from(text.to_string());
    for (text, augment, shown) in [
        ("crop:2", Augment::Crop(2), "crop:2"),
        ("flip", Augment::Flip, "flip"),
        ("erase", Augment::Erase(50), "erase:50"),
        ("erase: 25", Augment::Erase(25), "erase:25"),
        ("jitter:40", Augment::Jitter(40), "jitter:40"),
        ("rand-augment:2:9", Augment::RandAugment { count: 2, strength: 9 }, "rand-augment:2:9"),
    ] {
        assert_eq!(parse(text), Ok(augment));
        assert_eq!(String::from(augment), shown);
    }
    for bad in [
        "crop",
        "crop:0",
        "crop:65",
        "crop:x",
        "crop:-1",
        "flip:1",
        "erase:0",
        "erase:101",
        "jitter",
        "rand-augment",
        "rand-augment:2",
        "rand-augment:9:9",
        "rand-augment:1:31",
        "mixup",
        "",
    ] {
        let error = parse(bad).unwrap_err();
        assert!(error.contains("crop:N") && error.contains("rand-augment:N:M"), "{error}");
    }
}

#[test]
fn erase_fills_one_rectangle_of_the_papers_size_with_noise() {
    const SIDE: usize = 32;
    let mut erased = 0;
    for sample in 0..400 {
        // Erased bytes are random, so one channel keeps its value by chance; all three hardly.
        let mut pixels = vec![7; 3 * SIDE * SIDE];
        let stream = &mut Stream::new(1, "erase", &[sample]);
        Augment::Erase(50).apply(&mut pixels, [3, SIDE, SIDE], stream);
        let plane = SIDE * SIDE;
        let changed = |i: usize| (0..3).any(|c| pixels[c * plane + i] != 7);
        let places: Vec<usize> = (0..plane).filter(|&i| changed(i)).collect();
        let Some((&first, &last)) = places.first().zip(places.last()) else { continue };
        erased += 1;
        let left = places.iter().map(|i| i % SIDE).min().unwrap();
        let right = places.iter().map(|i| i % SIDE).max().unwrap();
        let (tall, wide) = (last / SIDE - first / SIDE + 1, right - left + 1);
        assert_eq!(places.len(), tall * wide, "a rectangle");
        // 2 % to 40 % of 1024, before its sides are cut to whole pixels.
        assert!((10..=409).contains(&places.len()), "{tall}×{wide}");
        let aspect = tall as f32 / wide as f32;
        assert!((0.2..5.0).contains(&aspect), "{tall}×{wide}");
    }
    // Binomial: standard deviation 10.
    assert!((150..250).contains(&erased), "{erased}");
}

/// `(37 i + 53 c) mod 251`, as in `tests/pytorch/augmentations.py`.
fn waves() -> Vec<u8> {
    (0..3).flat_map(|c| (0..20).map(move |i| ((37 * i + 53 * c) % 251) as u8)).collect()
}

const WAVES: [usize; 3] = [3, 4, 5];

fn changed(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut pixels = waves();
    change(&mut pixels);
    pixels
}

#[test]
fn colours_change_as_in_pillow() {
    // Of `tests/pytorch/augmentations.py` with Pillow 13.0; its tables round other numbers.
    let first = |pixels: Vec<u8>, wanted: [u8; 20]| {
        let near = pixels.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 1);
        assert!(near, "{pixels:?}, Pillow has {wanted:?}");
    };
    first(
        changed(|pixels| colour::brightness(pixels, 1.4)),
        [
            0, 51, 103, 155, 207, 255, 255, 11, 63, 114, 166, 218, 255, 255, 22, 74, 126, 177, 229,
            255,
        ],
    );
    first(
        changed(|pixels| colour::contrast(pixels, WAVES, 0.5)),
        [
            61, 80, 98, 117, 135, 154, 172, 65, 84, 102, 121, 139, 158, 176, 69, 88, 106, 125, 143,
            162,
        ],
    );
    first(
        changed(|pixels| colour::saturation(pixels, WAVES, 1.6)),
        [0, 11, 48, 85, 139, 176, 255, 0, 19, 56, 93, 147, 184, 255, 0, 27, 64, 101, 155, 255],
    );
    first(
        changed(|pixels| colour::sharpness(pixels, WAVES, 1.9)),
        [0, 37, 74, 111, 148, 185, 255, 0, 9, 82, 119, 173, 228, 255, 16, 53, 90, 127, 164, 201],
    );
    first(
        changed(|pixels| colour::solarize(pixels, 128.0)),
        [0, 37, 74, 111, 107, 70, 33, 8, 45, 82, 119, 99, 62, 25, 16, 53, 90, 127, 91, 54],
    );
    first(
        changed(|pixels| colour::posterize(pixels, 4)),
        [0, 32, 64, 96, 144, 176, 208, 0, 32, 80, 112, 144, 192, 224, 16, 48, 80, 112, 160, 192],
    );
    let mut pale: Vec<u8> = waves()[20..40].iter().map(|v| v / 2 + 30).collect();
    colour::autocontrast(&mut pale, [1, 4, 5]);
    first(
        pale,
        [
            52, 91, 129, 169, 206, 246, 22, 60, 100, 137, 177, 215, 255, 31, 68, 108, 146, 186,
            223, 0,
        ],
    );
    let mut big: Vec<u8> = (0..1024).map(|i| (i * i / 7 % 101 + 60) as u8).collect();
    colour::equalize(&mut big, [1, 32, 32]);
    assert_eq!(big[..12], [0, 0, 0, 5, 7, 10, 18, 24, 28, 35, 50, 61]);
}

#[test]
fn pixels_move_as_in_pillow() {
    let moved = |matrix| changed(|pixels| spatial::affine(pixels, WAVES, matrix))[20..40].to_vec();
    let sheared = moved([1.0, 0.3, 0.0, 0.0, 1.0, 0.0]);
    let pillow =
        [53, 90, 127, 164, 201, 238, 24, 61, 98, 135, 209, 246, 32, 69, 0, 143, 180, 217, 3, 0];
    assert_eq!(sheared, pillow);
    let turned = moved(rand_augment::rotation(20.0, 4, 5));
    let pillow =
        [238, 90, 90, 127, 0, 172, 24, 61, 98, 201, 106, 209, 246, 32, 135, 0, 180, 217, 217, 69];
    assert_eq!(turned, pillow);
}

#[test]
fn a_grey_image_has_no_colours_to_change() {
    let mut grey = waves()[..20].to_vec();
    colour::saturation(&mut grey, [1, 4, 5], 0.0);
    assert_eq!(grey, waves()[..20]);
    for sample in 0..100 {
        let mut grey = waves()[..20].to_vec();
        let stream = &mut Stream::new(1, "grey", &[sample]);
        Augment::RandAugment { count: 3, strength: 30 }.apply(&mut grey, [1, 4, 5], stream);
        Augment::Jitter(90).apply(&mut grey, [1, 4, 5], stream);
        Augment::Erase(100).apply(&mut grey, [1, 4, 5], stream);
    }
}

#[test]
fn the_changes_depend_on_the_stream_alone() {
    for augment in
        [Augment::Erase(100), Augment::Jitter(50), Augment::RandAugment { count: 2, strength: 15 }]
    {
        let of = |sample| {
            let mut pixels = waves();
            augment.apply(&mut pixels, WAVES, &mut Stream::new(3, "augment", &[0, sample]));
            pixels
        };
        assert_eq!(of(1), of(1));
        let different: std::collections::BTreeSet<_> = (0..50).map(of).collect();
        assert!(different.len() > 20, "{augment}: {}", different.len());
    }
}

#[test]
fn a_rand_augment_without_strength_leaves_most_images_as_they_are() {
    // All but autocontrast, equalize and solarize (which then inverts white alone) do nothing.
    let same = (0..1400).filter(|&sample| {
        let mut pixels = waves();
        let stream = &mut Stream::new(1, "weak", &[sample]);
        Augment::RandAugment { count: 1, strength: 0 }.apply(&mut pixels, WAVES, stream);
        pixels == waves()
    });
    // 13 of 14 or so: this image is too small to be equalized.
    assert!((1250..=1350).contains(&same.count()));
}
