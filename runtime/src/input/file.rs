//! From a user's file to the inputs of the network that are in it, whatever the kind.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::iter;

use super::{Array, Element, ImagePreprocess, Preprocess, ValuesPreprocess, csv, image, npy};
use crate::graph::Layout;
use crate::{Error, ErrorKind, Result};

/// One input of the network, as [`Session::predict`](crate::Session::predict) takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The line of a row in its table or of a text, from 1, or the place of a sample in its array, from 0; none
    /// where the file is one input.
    pub at: Option<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

/// Inputs of a file one by one.
type Inputs<'a> = Box<dyn Iterator<Item = Result<Input>> + 'a>;

impl Preprocess {
    /// The inputs in the bytes of `file` for a network in device layout whose input has `shape`,
    /// which includes the batch: one in an image (see [`image::decode`]) or a sound (WAV), one in each
    /// row of a table ([`TablePreprocess::rows`](super::TablePreprocess::rows)), one or many in an array
    /// (`.npy`; of images it holds uint8, `[h, w, c]`), one in each line of text that is not empty.
    pub fn inputs<'a>(&'a self, file: &'a [u8], shape: &[usize]) -> Result<Inputs<'a>> {
        match self {
            Self::Image(rule) if file.starts_with(npy::MAGIC) => {
                pixels(rule, &Array::npy(file)?, shape)
            }
            Self::Image(rule) => {
                let size = image_size(shape);
                let pixels = image::decode(file, size)?;
                let mut values = Vec::new();
                rule.apply_nhwc(&pixels, size[2], &mut values);
                Ok(Box::new(iter::once(Ok(Input { at: None, values }))))
            }
            Self::Table(table) => {
                let rows = table.rows(file)?;
                Ok(Box::new(
                    rows.map(|row| row.map(|r| Input { at: Some(r.line), values: r.features })),
                ))
            }
            Self::Audio(front_end) => {
                let values = front_end.features(file)?;
                Ok(Box::new(iter::once(Ok(Input { at: None, values }))))
            }
            Self::Values(rule) => values(rule, &Array::npy(file)?, shape),
            Self::Text(rule) => {
                rule.check_bytes()?;
                let lines = (1..).zip(csv::text(file)?.lines());
                let lines = lines.filter(|(_, line)| !line.trim().is_empty());
                Ok(Box::new(
                    lines.map(|(line, text)| {
                        Ok(Input { at: Some(line), values: rule.bytes_of(text) })
                    }),
                ))
            }
        }
    }
}

/// `[h, w, c]` of an image for an input of `shape`; one row where that is no image.
pub(super) fn image_size(shape: &[usize]) -> [usize; 3] {
    let elements = shape.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
    Layout::Nhwc.image(shape).unwrap_or([1, 1, elements])
}

/// Images in an array of bytes.
fn pixels<'a>(rule: &ImagePreprocess, array: &Array<'a>, shape: &[usize]) -> Result<Inputs<'a>> {
    if array.element() != Element::U8 {
        let what =
            format!("the array holds {:?}, images are bytes: save it as uint8", array.element());
        return Err(Error::new(ErrorKind::Input, "", what));
    }
    let [h, w, channels] = image_size(shape);
    let order = Order { sample: [h, w, channels].to_vec(), channels, channels_first: false };
    let tables = rule.tables(channels);
    inputs(array, order, move |value, channel| tables[channel][value as usize])
}

fn values<'a>(
    rule: &'a ValuesPreprocess,
    array: &Array<'a>,
    shape: &[usize],
) -> Result<Inputs<'a>> {
    let order = Order::of_values(rule, shape);
    inputs(array, order, |value, channel| rule.apply(value as f32, channel))
}

/// The samples of `array`, each value with its channel by `apply`.
fn inputs<'a>(
    array: &Array<'a>,
    order: Order,
    apply: impl Fn(f64, usize) -> f32 + 'a,
) -> Result<Inputs<'a>> {
    let count = count(array.shape(), &order.sample).ok_or_else(|| {
        let what = format!(
            "the array has shape {:?}, the model takes {:?}, or many of them one after another",
            array.shape(),
            order.sample
        );
        Error::new(ErrorKind::Input, "", what)
    })?;
    let whole = array.shape().len() <= order.sample.len();
    let array = array.clone();
    Ok(Box::new((0..count).map(move |at| {
        let size = order.len();
        let value = |i: usize| apply(array.at(at * size + order.place(i)), order.channel(i));
        Ok(Input { at: (!whole).then_some(at), values: (0..size).map(value).collect() })
    })))
}

/// The order of a sample's values in files, beside that of the device.
pub(super) struct Order {
    /// Shape of a sample in a file.
    sample: Vec<usize>,
    channels: usize,
    channels_first: bool,
}

impl Order {
    /// The order of `rule` for an input of `shape`.
    pub(super) fn of_values(rule: &ValuesPreprocess, shape: &[usize]) -> Self {
        let sample = shape.get(1..).unwrap_or_default();
        match Layout::Nhwc.image(shape) {
            Some([h, w, channels]) => {
                let channels_first = !rule.channels_last;
                let sample = if channels_first { [channels, h, w] } else { [h, w, channels] };
                Self { sample: sample.to_vec(), channels, channels_first }
            }
            None => Self {
                sample: sample.to_vec(),
                channels: sample.iter().product(),
                channels_first: false,
            },
        }
    }

    /// Values of a sample.
    pub(super) fn len(&self) -> usize {
        self.sample.iter().product()
    }

    /// Where value `i` of the device's input stands in a sample of the file.
    pub(super) fn place(&self, i: usize) -> usize {
        let channels = self.channels.max(1);
        let plane = self.len() / channels;
        if self.channels_first { i % channels * plane + i / channels } else { i }
    }

    /// The channel of value `i` of the device's input.
    pub(super) fn channel(&self, i: usize) -> usize {
        i % self.channels.max(1)
    }
}

/// How many samples of shape `sample` are in an array of shape `array`; dimensions of 1 do not count.
fn count(array: &[usize], sample: &[usize]) -> Option<usize> {
    let real = |shape: &[usize]| shape.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    let (array, sample) = (real(array), real(sample));
    let first = array.len().checked_sub(sample.len())?;
    let (many, own) = array.split_at_checked(first)?;
    (own == sample && many.len() <= 1).then(|| many.iter().product())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::input::TextPreprocess;
    use crate::input::npy::tests::file;

    fn inputs(rule: ValuesPreprocess, bytes: &[u8], shape: &[usize]) -> Result<Vec<Input>> {
        Preprocess::Values(rule).inputs(bytes, shape)?.collect()
    }

    #[test]
    fn arrays_are_one_or_many_inputs_in_device_layout() {
        let bytes: Vec<u8> = (0..8).collect();
        let rule = ValuesPreprocess { mean: [0.0, 4.0].into(), ..ValuesPreprocess::default() };
        // Two channels of 2×2: 0 to 3, and 4 to 7, from which 4 is subtracted.
        let found = inputs(rule.clone(), &file("|u1", false, &[2, 2, 2], &bytes), &[1, 2, 2, 2]);
        let values = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0].to_vec();
        assert_eq!(found.unwrap(), [Input { at: None, values }]);
        let last = ValuesPreprocess { channels_last: true, ..rule };
        let found = inputs(last, &file("|u1", false, &[2, 1, 2, 2], &bytes), &[1, 1, 2, 2]);
        let expected = [[0.0, -3.0, 2.0, -1.0], [4.0, 1.0, 6.0, 3.0]];
        for (at, (found, values)) in found.unwrap().into_iter().zip(expected).enumerate() {
            assert_eq!(found, Input { at: Some(at), values: values.to_vec() });
        }
    }

    #[test]
    fn arrays_of_bytes_are_images() {
        let bytes: Vec<u8> = [0, 51, 102, 153, 204, 255, 0, 255].to_vec();
        let rule = Preprocess::Image(ImagePreprocess {
            range: [0.0, 5.0],
            mean: [0.0, 1.0].into(),
            std: [1.0].into(),
        });
        let many = file("|u1", false, &[2, 1, 2, 2], &bytes);
        let found = rule.inputs(&many, &[1, 1, 2, 2]).unwrap().collect::<Result<Vec<_>>>().unwrap();
        // 51 is a fifth of 255; of the second channel 1 is subtracted.
        let expected = [[0.0, 0.0, 2.0, 2.0], [4.0, 4.0, 0.0, 4.0]];
        for (at, values) in expected.into_iter().enumerate() {
            assert_eq!(found[at], Input { at: Some(at), values: values.to_vec() });
        }
        let wide = file("<u2", false, &[1, 2, 2], &bytes);
        let error = rule.inputs(&wide, &[1, 1, 2, 2]).err().unwrap();
        assert!(error.message().contains("U16, images are bytes"), "{error}");
        let error = rule.inputs(&many, &[1, 4, 2, 1]).err().unwrap();
        assert!(error.message().contains("shape [2, 1, 2, 2], the model takes [4, 2, 1]"));
    }

    #[test]
    fn each_line_of_text_is_an_input() {
        let rule = Preprocess::Text(TextPreprocess::bytes(3));
        let found = rule.inputs("ab\r\n\n  \nß".as_bytes(), &[1, 3]).unwrap();
        let found: Vec<Input> = found.collect::<Result<_>>().unwrap();
        let input = |line, values: [f32; 3]| Input { at: Some(line), values: values.to_vec() };
        assert_eq!(found, [input(1, [98.0, 99.0, 0.0]), input(4, [196.0, 160.0, 0.0])]);
        let error = rule.inputs(b"a\n\xff", &[1, 3]).err().unwrap();
        assert!(error.message().contains("not UTF-8"), "{error}");
    }

    #[test]
    fn an_array_of_another_shape_is_refused() {
        let bytes = file("|u1", false, &[2, 3], &[0; 6]);
        let rule = ValuesPreprocess::default();
        assert_eq!(inputs(rule.clone(), &bytes, &[1, 3]).unwrap().len(), 2);
        let error = inputs(rule.clone(), &bytes, &[1, 6]).unwrap_err();
        assert!(error.message().contains("shape [2, 3], the model takes [6]"), "{error}");
        assert!(inputs(rule, b"a,b\n1,2\n", &[1, 2]).is_err());
    }
}
