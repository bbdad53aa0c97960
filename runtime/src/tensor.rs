//! A weight tensor: dtype, shape and little-endian bytes, owned, mapped or in flash.

use alloc::borrow::Cow;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::dtype::{DType, Shape};
use crate::{Error, ErrorKind, Result};

/// Bytes that several tensors share: a mapped file or a buffer.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Clone)]
enum Bytes {
    Owned(Vec<u8>),
    Static(&'static [u8]),
    Shared { source: SharedBytes, range: Range<usize> },
}

/// A weight tensor. The bytes are little endian, as in safetensors.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    bytes: Bytes,
}

macro_rules! from_slice {
    ($name:ident, $ty:ty, $dtype:ident) => {
        #[doc = concat!("A tensor of `", stringify!($ty), "`; panics when `shape` does not hold exactly `data`.")]
        pub fn $name(shape: impl Into<Shape>, data: &[$ty]) -> Self {
            let shape = shape.into();
            assert_eq!(shape.checked_elements(), Some(data.len()), "shape {shape} against the data's length");
            let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
            Self { dtype: DType::$dtype, shape, bytes: Bytes::Owned(bytes) }
        }
    };
}

impl Tensor {
    from_slice!(from_f32, f32, F32);
    from_slice!(from_f16, half::f16, F16);
    from_slice!(from_i8, i8, I8);
    from_slice!(from_i32, i32, I32);
    from_slice!(from_u8, u8, U8);

    /// A tensor over `range` of shared bytes; the length must be what dtype and shape ask for.
    pub fn shared(
        dtype: DType,
        shape: Shape,
        source: SharedBytes,
        range: Range<usize>,
    ) -> Result<Self> {
        let held = (*source).as_ref().get(range.clone()).map(<[u8]>::len);
        fits(dtype, &shape, held)?;
        Ok(Self { dtype, shape, bytes: Bytes::Shared { source, range } })
    }

    /// A tensor over bytes that live for ever, as a model in flash does.
    pub fn in_flash(dtype: DType, shape: Shape, bytes: &'static [u8]) -> Result<Self> {
        fits(dtype, &shape, Some(bytes.len()))?;
        Ok(Self { dtype, shape, bytes: Bytes::Static(bytes) })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes,
            Bytes::Static(bytes) => bytes,
            Bytes::Shared { source, range } => {
                (**source).as_ref().get(range.clone()).unwrap_or(&[])
            }
        }
    }

    /// The elements as f32; f16 is widened. Borrowed when the bytes are already aligned f32.
    pub fn f32s(&self) -> Result<Cow<'_, [f32]>> {
        match self.dtype {
            DType::F32 => Ok(decode(self.bytes(), f32::from_le_bytes)),
            DType::F16 => {
                let halves = self.bytes().as_chunks::<2>().0;
                Ok(halves.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect())
            }
            _ => Err(self.is_not("F32 or F16")),
        }
    }

    /// The elements of an I32 tensor; borrowed when the bytes are aligned.
    pub fn i32s(&self) -> Result<Cow<'_, [i32]>> {
        match self.dtype {
            DType::I32 => Ok(decode(self.bytes(), i32::from_le_bytes)),
            _ => Err(self.is_not("I32")),
        }
    }

    /// The elements of an I8 tensor.
    pub fn i8s(&self) -> Result<&[i8]> {
        match self.dtype {
            DType::I8 => Ok(bytemuck::cast_slice(self.bytes())),
            _ => Err(self.is_not("I8")),
        }
    }

    /// The same bytes under another shape of as many elements.
    pub fn reshaped(mut self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        fits(self.dtype, &shape, Some(self.bytes().len()))?;
        self.shape = shape;
        Ok(self)
    }

    /// The tensor with its dimensions in the order `axes` (as `numpy.transpose`), of any dtype.
    #[must_use]
    pub fn transposed<const N: usize>(&self, axes: [usize; N]) -> Self {
        let dims: [usize; N] = self.shape.dims().expect("one axis for each dimension");
        let strides: [usize; N] =
            core::array::from_fn(|i| dims[i + 1..].iter().product::<usize>() * self.dtype.size());
        let shape: [usize; N] = axes.map(|a| dims[a]);
        let (source, size) = (self.bytes(), self.dtype.size());
        let mut bytes = Vec::with_capacity(source.len());
        let mut index = [0_usize; N];
        for _ in 0..self.shape.elements() {
            let from: usize = (0..N).map(|i| index[i] * strides[axes[i]]).sum();
            bytes.extend_from_slice(&source[from..from + size]);
            for i in (0..N).rev() {
                index[i] += 1;
                if index[i] < shape[i] {
                    break;
                }
                index[i] = 0;
            }
        }
        Self { dtype: self.dtype, shape: shape.into(), bytes: Bytes::Owned(bytes) }
    }

    fn is_not(&self, wanted: &str) -> Error {
        Error::new(
            ErrorKind::Graph,
            "",
            format!("has dtype {}, this use needs {wanted}", self.dtype),
        )
    }
}

/// Values of little-endian bytes: a borrow where alignment and byte order allow, else decoded.
fn decode<T: bytemuck::AnyBitPattern>(bytes: &[u8], read: fn([u8; 4]) -> T) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
        _ => bytes.as_chunks::<4>().0.iter().map(|&b| read(b)).collect(),
    }
}

fn fits(dtype: DType, shape: &Shape, held: Option<usize>) -> Result<()> {
    let wanted = shape.checked_elements().and_then(|n| n.checked_mul(dtype.size()));
    if wanted.is_some() && wanted == held {
        return Ok(());
    }
    let wanted = wanted.map_or("more bytes than can be addressed".into(), |n| format!("{n} bytes"));
    Err(Error::new(
        ErrorKind::Format,
        "",
        format!(
            "dtype {dtype} and shape {shape} ask for {wanted}, {} are there",
            held.unwrap_or(0)
        ),
    ))
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {})", self.dtype, self.shape)
    }
}
