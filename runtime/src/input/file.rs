//! From a user's file to the inputs of the network that are in it, whatever the kind.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::iter;

use super::{Array, Preprocess, ValuesPreprocess, csv, image};
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
    /// (`.npy`), one in each line of text that is not empty.
    pub fn inputs<'a>(&'a self, file: &'a [u8], shape: &[usize]) -> Result<Inputs<'a>> {
        match self {
            Self::Image(rule) => {
                let elements = shape.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
                let size = Layout::Nhwc.image(shape).unwrap_or([1, 1, elements]);
                let pixels = image::decode(file, size)?;
                let mut values = Vec::new();
                rule.apply_nhwc(pixels, size[2], &mut values);
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
            Self::Values(rule) => array(rule, &Array::npy(file)?, shape),
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

fn array<'a>(rule: &'a ValuesPreprocess, array: &Array<'a>, shape: &[usize]) -> Result<Inputs<'a>> {
    let image = Layout::Nhwc.image(shape);
    let sample = match image {
        Some([h, w, c]) if !rule.channels_last => [c, h, w].to_vec(),
        Some(size) => size.to_vec(),
        None => shape.get(1..).unwrap_or_default().to_vec(),
    };
    let size = sample.iter().product::<usize>();
    let count = count(array.shape(), &sample).ok_or_else(|| {
        let what = format!(
            "the array has shape {:?}, the model takes {sample:?}, or many of them one after another",
            array.shape()
        );
        Error::new(ErrorKind::Input, "", what)
    })?;
    let whole = array.shape().len() <= sample.len();
    let channels = match image {
        Some([_, _, channels]) => channels,
        None => size,
    };
    // Where value `i` of the device's input stands in a sample of the array.
    let plane = size / channels.max(1);
    let channels_first = image.is_some() && !rule.channels_last;
    let place =
        move |i: usize| if channels_first { i % channels * plane + i / channels } else { i };
    let array = array.clone();
    Ok(Box::new((0..count).map(move |at| {
        let value = |i: usize| rule.apply(array.at(at * size + place(i)) as f32, i % channels);
        let values = (0..size).map(value).collect();
        Ok(Input { at: (!whole).then_some(at), values })
    })))
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
