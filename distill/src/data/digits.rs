//! The built-in digits: Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI,
//! CC BY 4.0), 1437 training and 360 test images of 8×8 bytes from 0 to 240.

use super::{Split, idx};
use crate::Result;

const TRAIN: [&[u8]; 2] = [
    include_bytes!("../../data/digits/digits-train-images-idx3-ubyte"),
    include_bytes!("../../data/digits/digits-train-labels-idx1-ubyte"),
];
const TEST: [&[u8]; 2] = [
    include_bytes!("../../data/digits/digits-test-images-idx3-ubyte"),
    include_bytes!("../../data/digits/digits-test-labels-idx1-ubyte"),
];

/// The training and the test samples.
pub(super) fn load() -> Result<[Split; 2]> {
    let split = |name: &str, [images, labels]: [&[u8]; 2]| {
        let images = idx::read(images, &format!("digits {name} images"))?;
        let labels = idx::read(labels, &format!("digits {name} labels"))?;
        idx::split(images, Some(labels))
    };
    Ok([split("training", TRAIN)?, split("test", TEST)?])
}
