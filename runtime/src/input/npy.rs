//! Arrays: numpy's `.npy` files, format 1.0, 2.0 and 3.0 (NEP 1), and numbers of known type and shape.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use half::{bf16, f16};

use crate::{Error, ErrorKind, Result};

/// First bytes of a `.npy` file.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// Most bytes of the text that describes an array.
const MOST_HEADER: usize = 1 << 16;

/// Type of an array's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "numpy's names")]
pub enum Element {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Element {
    /// Bytes of a number.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether it has no fractions.
    pub const fn is_whole(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// numpy's type, as `f4`, without its byte order.
    fn of_numpy(text: &str) -> Option<Self> {
        Some(match text {
            "b1" => Self::Bool,
            "u1" => Self::U8,
            "i1" => Self::I8,
            "u2" => Self::U16,
            "i2" => Self::I16,
            "u4" => Self::U32,
            "i4" => Self::I32,
            "u8" => Self::U64,
            "i8" => Self::I64,
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            _ => return None,
        })
    }
}

/// An array whose bytes lie elsewhere.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    element: Element,
    shape: Vec<usize>,
    data: &'a [u8],
    big_endian: bool,
    /// Whether the first dimension is the innermost.
    fortran: bool,
}

impl<'a> Array<'a> {
    /// Little-endian numbers, the last dimension innermost; an error where the bytes are not those of
    /// `shape`.
    pub fn new(element: Element, shape: Vec<usize>, data: &'a [u8]) -> Result<Self> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let bytes = count.and_then(|count| count.checked_mul(element.size()));
        if bytes == Some(data.len()) {
            return Ok(Self { element, shape, data, big_endian: false, fortran: false });
        }
        let bytes = bytes.map_or("too many".into(), |bytes| format!("{bytes}"));
        Err(refused(format!(
            "shape {shape:?} takes {bytes} bytes, there are {}: the file is cut short or damaged",
            data.len()
        )))
    }

    /// The array in the bytes of a `.npy` file.
    pub fn npy(file: &'a [u8]) -> Result<Self> {
        let damaged = || refused("its .npy header is damaged or cut short".into());
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| refused("is no .npy file".into()))?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (length, rest) = match version[0] {
            1 => {
                let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
                (usize::from(u16::from_le_bytes(*length)), rest)
            }
            2 | 3 => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
                (u32::from_le_bytes(*length) as usize, rest)
            }
            other => return Err(refused(format!("is .npy of version {other}, 1 to 3 are known"))),
        };
        if length > MOST_HEADER {
            return Err(damaged());
        }
        let (header, data) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let header = core::str::from_utf8(header).map_err(|_| damaged())?;
        let header = Header::parse(header).ok_or_else(damaged)?;
        let (order, kind) = header.descr.split_at_checked(1).unwrap_or_default();
        let element = Element::of_numpy(kind).filter(|_| ["<", ">", "|", "="].contains(&order));
        let element = element.ok_or_else(|| {
            refused(format!(
                "has numbers of type {:?}: save it as bool, integers or floats",
                header.descr
            ))
        })?;
        let array = Self::new(element, header.shape, data)?;
        Ok(Self { big_endian: order == ">", fortran: header.fortran, ..array })
    }

    /// Type of its numbers.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Its dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of its numbers.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.element.size()).unwrap_or(0)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Number `index`, counted with the last dimension innermost; 0 where there is none.
    pub fn at(&self, index: usize) -> f64 {
        let place = if self.fortran { self.transposed(index) } else { index };
        let size = self.element.size();
        let bytes = place.checked_mul(size).and_then(|start| self.data.get(start..)?.get(..size));
        let mut number = [0; 8];
        for (i, to) in number.iter_mut().take(size).enumerate() {
            let from = if self.big_endian { size.saturating_sub(1).saturating_sub(i) } else { i };
            *to = bytes.and_then(|bytes| bytes.get(from)).copied().unwrap_or(0);
        }
        let bits = u64::from_le_bytes(number);
        match self.element {
            Element::Bool => f64::from(u8::from(bits != 0)),
            Element::U8 | Element::U16 | Element::U32 | Element::U64 => bits as f64,
            Element::I8 => f64::from(bits as i8),
            Element::I16 => f64::from(bits as i16),
            Element::I32 => f64::from(bits as i32),
            Element::I64 => bits as i64 as f64,
            Element::F16 => f16::from_bits(bits as u16).to_f64(),
            Element::Bf16 => bf16::from_bits(bits as u16).to_f64(),
            Element::F32 => f64::from(f32::from_bits(bits as u32)),
            Element::F64 => f64::from_bits(bits),
        }
    }

    /// Where number `index` of an array stands whose first dimension is the innermost.
    fn transposed(&self, mut index: usize) -> usize {
        let mut stride = self.len();
        let mut place = 0_usize;
        for &size in self.shape.iter().rev() {
            stride = stride.checked_div(size).unwrap_or(0);
            let own = index.checked_rem(size).unwrap_or(0);
            index = index.checked_div(size).unwrap_or(0);
            place = place.saturating_add(own.saturating_mul(stride));
        }
        place
    }
}

/// What the Python literal at the beginning of a file says.
struct Header<'a> {
    descr: &'a str,
    fortran: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let after =
            |key: &str| Some(text.split_once(key)?.1.trim_start().strip_prefix(':')?.trim_start());
        let descr = after("'descr'")?.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let fortran = after("'fortran_order'")?;
        let shape = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        Some(Self {
            // A list of fields stands here for records: no type that is known.
            descr: descr.map_or("", |(descr, _)| descr),
            fortran: fortran.starts_with("True"),
            shape: sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Input, "", message)
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    #![expect(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    /// A file of version 1.0 as numpy writes it.
    pub(in crate::input) fn file(
        descr: &str,
        fortran: bool,
        shape: &[usize],
        data: &[u8],
    ) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let shape: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
        let shape = shape.join(" ");
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
        let padding = 63 - (MAGIC.len() + 4 + header.len()) % 64;
        header.push_str(&" ".repeat(padding));
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn numbers(bytes: &[u8]) -> Vec<f64> {
        let array = Array::npy(bytes).unwrap();
        (0..array.len()).map(|i| array.at(i)).collect()
    }

    /// `numpy.save` of numpy 2 for `numpy.array([[1, -2, 3], [4, 5, -6]], dtype="<i2", order="F")`.
    const SAVED: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }                                                           \n\x01\x00\x04\x00\xfe\xff\x05\x00\x03\x00\xfa\xff";

    #[test]
    fn a_file_of_numpy_is_read_in_its_own_order() {
        let array = Array::npy(SAVED).unwrap();
        assert_eq!((array.element(), array.shape()), (Element::I16, &[2, 3][..]));
        assert_eq!(numbers(SAVED), [1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
    }

    #[test]
    fn every_type_and_byte_order_is_read() {
        let check = |descr: &str, data: &[u8], expected: &[f64]| {
            let bytes = file(descr, false, &[expected.len()], data);
            assert_eq!(numbers(&bytes), expected, "{descr}");
        };
        check("|b1", &[0, 1, 1], &[0.0, 1.0, 1.0]);
        check("|u1", &[255], &[255.0]);
        check("|i1", &[255], &[-1.0]);
        check("<u2", &[1, 2], &[513.0]);
        check(">i2", &[255, 254], &[-2.0]);
        check("<u4", &u32::MAX.to_le_bytes(), &[4_294_967_295.0]);
        check("<i4", &(-7_i32).to_le_bytes(), &[-7.0]);
        check("<u8", &5_u64.to_le_bytes(), &[5.0]);
        check("<i8", &(-5_i64).to_le_bytes(), &[-5.0]);
        check("<f2", &[0, 0xc0], &[-2.0]);
        check(">f4", &1.5_f32.to_be_bytes(), &[1.5]);
        check("<f8", &0.1_f64.to_le_bytes(), &[0.1]);
        // A number alone has no dimensions.
        assert_eq!(numbers(&file("|u1", false, &[], &[7])), [7.0]);
    }

    #[test]
    fn longer_headers_and_three_dimensions_in_fortran_order_are_read() {
        let v1 = file("|u1", true, &[2, 3, 2], &(0..12).collect::<Vec<u8>>());
        let length = u16::from_le_bytes([v1[8], v1[9]]);
        let v2 = [MAGIC, &[2, 0], &u32::from(length).to_le_bytes(), &v1[10..]].concat();
        // numpy: arange(12, dtype="u1").reshape(2, 3, 2, order="F").ravel()
        let expected = [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0];
        assert_eq!(numbers(&v1), expected);
        assert_eq!(numbers(&v2), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |bytes: &[u8]| Array::npy(bytes).unwrap_err().to_string();
        assert!(error(b"PK").contains("no .npy file"));
        assert!(error(&file("<c8", false, &[1], &[0; 8])).contains("type \"<c8\""));
        assert!(error(&file("<f4", false, &[2], &[0; 7])).contains("takes 8 bytes, there are 7"));
        assert!(error(&file("<f4", false, &[usize::MAX, 9], &[])).contains("too many"));
        assert!(error(&SAVED[..40]).contains("cut short"));
        assert!(error(b"\x93NUMPY\x09\x00").contains("version 9"));
        let text = b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}";
        let records = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text].concat();
        assert!(error(&records).contains("numbers of type"), "{}", error(&records));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..SAVED.len(), byte in any::<u8>(), end in 0..=SAVED.len()) {
            let mut bytes = SAVED.to_vec();
            bytes[at] = byte;
            bytes.truncate(end);
            if let Ok(array) = Array::npy(&bytes) {
                for i in 0..=array.len() {
                    array.at(i);
                }
            }
        }
    }
}
