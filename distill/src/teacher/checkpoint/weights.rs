//! A tensor as it lies in a file: element type, shape, strides, bytes; widened to f32 when asked for.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use hipflask_runtime::{DType, Shape, Tensor};

/// The tensors of a file by name.
pub(super) type Weights<'a> = BTreeMap<String, Entry<'a>>;

/// Element type. Integers only pass by, on the way to weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    F16,
    BF16,
    /// Integers and booleans, by their bytes.
    Integer(usize),
}

impl Kind {
    /// The type of one of PyTorch's storage classes.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "ByteStorage" | "CharStorage" | "BoolStorage" => Self::Integer(1),
            "ShortStorage" => Self::Integer(2),
            "IntStorage" => Self::Integer(4),
            "LongStorage" => Self::Integer(8),
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Integer(size) => size,
        }
    }
}

/// A tensor in a file that was read or mapped.
pub(super) struct Entry<'a> {
    kind: Kind,
    shape: Shape,
    /// In elements.
    strides: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A view of `bytes`, which begin at its first element; `strides` count elements.
    ///
    /// Fails when it would read past `bytes` or hold more elements than they do.
    pub(super) fn new(
        kind: Kind,
        shape: Vec<usize>,
        strides: Vec<usize>,
        bytes: &'a [u8],
    ) -> Result<Self, String> {
        let shape = Shape::from(shape);
        let held = bytes.len().checked_div(kind.size()).unwrap_or(0);
        let last = shape.iter().zip(&strides).try_fold(0_usize, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        let elements = shape.checked_elements();
        let fits = elements == Some(0)
            || (elements.is_some_and(|n| n <= held) && last.is_some_and(|last| last < held));
        if !fits {
            return Err(format!(
                "shape {shape} and strides {strides:?} reach beyond its {held} elements"
            ));
        }
        Ok(Self { kind, shape, strides, bytes })
    }

    /// A view of elements one after the other.
    pub(super) fn contiguous(
        kind: Kind,
        shape: Vec<usize>,
        bytes: &'a [u8],
    ) -> Result<Self, String> {
        let mut strides = Vec::with_capacity(shape.len());
        let mut stride = 1_usize;
        for &size in shape.iter().rev() {
            strides.push(stride);
            stride = stride.saturating_mul(size);
        }
        strides.reverse();
        Self::new(kind, shape, strides, bytes)
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements in row-major order, converted to f32.
    pub(super) fn f32s(&self) -> Result<Vec<f32>, String> {
        let bytes = self.gather();
        Ok(match self.kind {
            Kind::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Kind::F64 => {
                bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect()
            }
            // The upper half of an f32.
            Kind::BF16 => {
                let halves = bytes.as_chunks().0.iter();
                halves.map(|&b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)).collect()
            }
            Kind::F16 => {
                let length = bytes.len();
                Tensor::shared(DType::F16, self.shape.clone(), Arc::new(bytes), 0..length)
                    .and_then(|tensor| Ok(tensor.f32s()?.into_owned()))
                    .map_err(|e| e.to_string())?
            }
            Kind::Integer(size) => {
                return Err(format!("holds integers of {size} bytes, weights are real numbers"));
            }
        })
    }

    /// The bytes of the elements in row-major order.
    fn gather(&self) -> Vec<u8> {
        let size = self.kind.size();
        let elements = self.shape.elements();
        let mut gathered = Vec::with_capacity(elements.saturating_mul(size));
        let mut index = vec![0_usize; self.shape.len()];
        for _ in 0..elements {
            // `new` checked that the last element's place fits, so nothing saturates.
            let place = index.iter().zip(&self.strides);
            let place = place.fold(0_usize, |at, (&i, &s)| at.saturating_add(i.saturating_mul(s)));
            let start = place.saturating_mul(size);
            gathered.extend(self.bytes.get(start..start.saturating_add(size)).unwrap_or_default());
            for (i, &most) in index.iter_mut().zip(self.shape.iter()).rev() {
                *i = i.saturating_add(1);
                if *i < most {
                    break;
                }
                *i = 0;
            }
        }
        gathered
    }
}
