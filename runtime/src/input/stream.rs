//! Inputs of a pipe, one after another: frames of a fixed size, windows of a sound, lines of text.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{self, BufRead};

use super::audio::Extractor;
use super::file::{Order, image_size};
use super::{Preprocess, TextPreprocess, ValuesPreprocess, csv, pixels};
use crate::{Error, ErrorKind, Result};

/// An input of the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame<'a> {
    /// Its place among the frames, from 0; of text its line, from 1.
    pub at: usize,
    /// The input, as [`Session::predict`](crate::Session::predict) takes it.
    pub values: &'a [f32],
}

/// Reads frames from a pipe; after the first, [`Frames::next`] allocates nothing, but for longer
/// lines of text.
///
/// | the model reads | a frame is |
/// |---|---|
/// | images | `h · w · c` bytes, in that order |
/// | values | as many f32, little endian, in the order of the training files |
/// | sounds | `hop` samples (i16, little endian, one channel, the model's rate) that follow the last window's |
/// | text | a line that is not empty |
///
/// Nothing in the bytes of a frame says what they are, so nothing is guessed from them.
pub struct Frames<'a> {
    kind: Kind<'a>,
    bytes: Vec<u8>,
    values: Vec<f32>,
    /// Frames that were read, or lines.
    count: usize,
}

enum Kind<'a> {
    Image { tables: Vec<[f32; 256]> },
    Values { rule: &'a ValuesPreprocess, order: Order },
    Audio { extractor: Box<Extractor>, window: Vec<i16>, hop: usize },
    Text(&'a TextPreprocess),
}

impl<'a> Frames<'a> {
    /// Frames for a network in device layout whose input has `shape`, which includes the batch.
    ///
    /// `hop` is for sounds: samples from one window to the next, 1 to the length of a window, which
    /// it is by default.
    pub fn new(preprocess: &'a Preprocess, shape: &[usize], hop: Option<usize>) -> Result<Self> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Input, "stream", what));
        if hop.is_some() && !matches!(preprocess, Preprocess::Audio(_)) {
            let reads = preprocess.reads();
            return refuse(format!("the model reads {reads}: a hop is for sounds"));
        }
        let (kind, bytes) = match preprocess {
            Preprocess::Image(rule) => {
                let [h, w, channels] = image_size(shape);
                let bytes = h.saturating_mul(w).saturating_mul(channels);
                (Kind::Image { tables: rule.tables(channels) }, bytes)
            }
            Preprocess::Values(rule) => {
                let order = Order::of_values(rule, shape);
                let bytes = order.len().saturating_mul(size_of::<f32>());
                (Kind::Values { rule, order }, bytes)
            }
            Preprocess::Audio(front_end) => {
                let length = front_end.length;
                let hop = hop.unwrap_or(length);
                if !(1..=length).contains(&hop) {
                    return refuse(format!("a hop of {hop} samples: 1 to {length} are possible"));
                }
                let extractor = Box::new(Extractor::new(front_end)?);
                let window = vec![0; length];
                (Kind::Audio { extractor, window, hop }, length.saturating_mul(size_of::<i16>()))
            }
            Preprocess::Text(rule) => {
                rule.check_bytes()?;
                (Kind::Text(rule), 0)
            }
            Preprocess::Table(_) => {
                return refuse(
                    "rows of a table have no fixed size: give a file with its titles".into(),
                );
            }
        };
        let elements = shape.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
        Ok(Self { kind, bytes: vec![0; bytes], values: Vec::with_capacity(elements), count: 0 })
    }

    /// Bytes of a frame, of a sound's first; none of text.
    pub fn frame_bytes(&self) -> Option<usize> {
        (!matches!(self.kind, Kind::Text(_))).then_some(self.bytes.len())
    }

    /// The next frame; none at the end.
    ///
    /// Fails where the stream ends within a frame, and says how many bytes are missing; of a sound,
    /// whole samples after the last hop are passed over.
    pub fn next(&mut self, from: &mut dyn BufRead) -> Result<Option<Frame<'_>>> {
        let Self { kind, bytes, values, count } = self;
        let at = *count;
        let there = match kind {
            Kind::Image { tables } => {
                let there = whole(from, bytes, at)?;
                pixels::apply(tables, bytes, values);
                there
            }
            Kind::Values { rule, order } => {
                let there = whole(from, bytes, at)?;
                let numbers = bytes.as_chunks().0;
                let number = |i| numbers.get(order.place(i)).copied().unwrap_or_default();
                values.clear();
                values.extend(
                    (0..order.len())
                        .map(|i| rule.apply(f32::from_le_bytes(number(i)), order.channel(i))),
                );
                there
            }
            Kind::Audio { extractor, window, hop } => {
                let there = heard(from, bytes, window, *hop, at)?;
                let [frames, features] = extractor.shape();
                values.resize(frames.saturating_mul(features), 0.0);
                if there {
                    extractor.run(window, values);
                }
                there
            }
            Kind::Text(rule) => return line(rule, from, bytes, values, count),
        };
        *count = count.saturating_add(1);
        Ok(there.then_some(Frame { at, values }))
    }
}

/// Reads frame `at`; whether there is one.
fn whole(from: &mut dyn BufRead, bytes: &mut [u8], at: usize) -> Result<bool> {
    match fill(from, bytes)? {
        0 => Ok(false),
        all if all == bytes.len() => Ok(true),
        some => Err(cut_short(&format!("frame {at}"), some, bytes.len())),
    }
}

/// Moves `window` on by `hop` samples, the first time by all of them; whether there are so many.
fn heard(
    from: &mut dyn BufRead,
    bytes: &mut [u8],
    window: &mut [i16],
    hop: usize,
    at: usize,
) -> Result<bool> {
    let new = if at == 0 { window.len() } else { hop };
    let old = window.len().saturating_sub(new);
    let (bytes, _) = bytes.split_at_mut(new.saturating_mul(size_of::<i16>()).min(bytes.len()));
    let count = fill(from, bytes)?;
    if count < bytes.len() {
        let whole_samples = count.is_multiple_of(size_of::<i16>());
        return match at {
            _ if count == 0 => Ok(false),
            1.. if whole_samples => Ok(false),
            _ => Err(cut_short(&format!("window {at}"), count, bytes.len())),
        };
    }
    window.copy_within(new.., 0);
    let samples = bytes.as_chunks().0.iter().map(|&sample| i16::from_le_bytes(sample));
    for (to, sample) in window.iter_mut().skip(old).zip(samples) {
        *to = sample;
    }
    Ok(true)
}

/// The next line that is not empty.
fn line<'b>(
    rule: &TextPreprocess,
    from: &mut dyn BufRead,
    bytes: &mut Vec<u8>,
    values: &'b mut Vec<f32>,
    count: &mut usize,
) -> Result<Option<Frame<'b>>> {
    loop {
        bytes.clear();
        if from.read_until(b'\n', bytes).map_err(|e| unreadable(&e))? == 0 {
            return Ok(None);
        }
        *count = count.saturating_add(1);
        let at = *count;
        let text = csv::text(bytes)
            .map_err(|error| Error::new(error.kind(), format!("line {at}"), error.message()))?;
        if !text.trim().is_empty() {
            values.clear();
            rule.append_bytes(text, values);
            return Ok(Some(Frame { at, values }));
        }
    }
}

/// Reads until `bytes` are full or the stream ends; how many there were.
fn fill(from: &mut dyn BufRead, mut bytes: &mut [u8]) -> Result<usize> {
    let wanted = bytes.len();
    while !bytes.is_empty() {
        match from.read(bytes) {
            Ok(0) => break,
            Ok(count) => {
                bytes = bytes.split_at_mut_checked(count).map_or(&mut [], |(_, rest)| rest);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(wanted.saturating_sub(bytes.len()))
}

fn cut_short(what: &str, there: usize, wanted: usize) -> Error {
    let missing = wanted.saturating_sub(there);
    let message = format!("ends after {there} of {wanted} bytes: {missing} are missing");
    Error::new(ErrorKind::Input, what, message)
}

fn unreadable(error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, "", format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::input::ImagePreprocess;
    use crate::input::audio::AudioFrontEnd;

    /// All frames of `bytes`, and the error that ends them.
    fn read(
        preprocess: &Preprocess,
        shape: &[usize],
        hop: Option<usize>,
        mut bytes: &[u8],
    ) -> (Vec<(usize, Vec<f32>)>, Option<String>) {
        let mut frames = Frames::new(preprocess, shape, hop).unwrap();
        let mut found = Vec::new();
        loop {
            match frames.next(&mut bytes) {
                Ok(Some(frame)) => found.push((frame.at, frame.values.to_vec())),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn frames_of_pixels_are_what_they_are_in_files() {
        let rule =
            Preprocess::Image(ImagePreprocess { mean: [0.0, 1.0].into(), ..Default::default() });
        let shape = [1, 1, 2, 2];
        // The second frame begins as a PGM file would.
        let bytes = [0, 255, 255, 0, b'P', b'5', 1, 2];
        let (found, error) = read(&rule, &shape, None, &bytes);
        let file = rule.inputs(&bytes[..4], &shape).unwrap().next().unwrap().unwrap();
        assert_eq!((found.len(), &found[0]), (2, &(0, file.values)));
        assert_eq!(found[1].1[1].to_bits(), (53.0_f32 / 255.0 - 1.0).to_bits());
        assert_eq!((found[1].0, error), (1, None));
        let (found, error) = read(&rule, &shape, None, &bytes[..7]);
        let wanted = "frame 1: ends after 3 of 4 bytes: 1 are missing";
        assert_eq!((found.len(), error.as_deref()), (1, Some(wanted)));
        assert_eq!(read(&rule, &shape, None, &[]), (Vec::new(), None));
    }

    #[test]
    fn frames_of_values_come_in_the_order_of_files() {
        let rule = ValuesPreprocess { mean: [1.0, 2.0].into(), ..Default::default() };
        let bytes: Vec<u8> =
            [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        // Two channels of two pixels, one after the other: 1 2, 3 4.
        let (found, _) = read(&Preprocess::Values(rule.clone()), &[1, 1, 2, 2], None, &bytes);
        assert_eq!(found, [(0, [0.0, 1.0, 1.0, 2.0].to_vec())]);
        let rule = Preprocess::Values(ValuesPreprocess { channels_last: true, ..rule });
        let (found, error) = read(&rule, &[1, 1, 1, 2], None, &bytes[..11]);
        assert_eq!(found, [(0, [0.0, 0.0].to_vec())]);
        assert_eq!(error.unwrap(), "frame 1: ends after 3 of 8 bytes: 5 are missing");
    }

    #[test]
    fn windows_of_a_sound_are_its_clips_and_a_rest_is_passed_over() {
        let front_end = AudioFrontEnd { length: 1000, ..AudioFrontEnd::default() };
        let shape = [1, front_end.shape()[0], front_end.shape()[1], 1];
        let sound: Vec<i16> = (0..1750).map(|i| (i * i % 4001 - 2000) as i16).collect();
        let bytes: Vec<u8> = sound.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut extractor = Extractor::new(&front_end).unwrap();
        let rule = Preprocess::Audio(front_end);
        let (found, error) = read(&rule, &shape, Some(300), &bytes);
        assert_eq!((found.len(), error), (3, None));
        for (at, values) in found {
            let mut features = vec![0.0; values.len()];
            extractor.run(&sound[at * 300..][..1000], &mut features);
            assert_eq!(values, features, "window {at}");
        }
        assert_eq!(read(&rule, &shape, None, &bytes).0.len(), 1);
        let (found, error) = read(&rule, &shape, Some(300), &bytes[..2301]);
        let wanted = "window 1: ends after 301 of 600 bytes: 299 are missing";
        assert_eq!((found.len(), error.as_deref()), (1, Some(wanted)));
        let (_, error) = read(&rule, &shape, None, &bytes[..500]);
        assert_eq!(error.unwrap(), "window 0: ends after 500 of 2000 bytes: 1500 are missing");
        let error = Frames::new(&rule, &shape, Some(1001)).err().unwrap();
        assert!(error.message().contains("1 to 1000 are possible"), "{error}");
    }

    #[test]
    fn lines_of_text_keep_their_numbers() {
        let rule = Preprocess::Text(TextPreprocess::bytes(3));
        let (found, error) = read(&rule, &[1, 3], None, b"a b\n\n \r\n c\n\xff\n");
        let expected = [(1, [98.0, 33.0, 99.0].to_vec()), (4, [100.0, 0.0, 0.0].to_vec())];
        assert_eq!(found, expected);
        assert!(error.unwrap().starts_with("line 5: is not UTF-8"));
        let error = Frames::new(&rule, &[1, 3], Some(1)).err().unwrap().to_string();
        assert!(error.contains("a hop is for sounds"), "{error}");
    }

    #[test]
    fn tables_are_refused() {
        let rule = Preprocess::Table(crate::input::TablePreprocess::default());
        assert!(Frames::new(&rule, &[1, 2], None).is_err());
    }
}
