//! Constant tensors: their elements from the model or from a file beside it, checked before use.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use hipflask_runtime::{Error, ErrorKind, Result, SharedBytes, file};

use super::node::fault;
use super::proto::TensorProto;

/// Numbers of `TensorProto.DataType`.
pub(super) mod data_type {
    pub(in crate::onnx) const FLOAT: i32 = 1;
    pub(in crate::onnx) const UINT8: i32 = 2;
    pub(in crate::onnx) const INT8: i32 = 3;
    pub(in crate::onnx) const INT32: i32 = 6;
    pub(in crate::onnx) const INT64: i32 = 7;
    pub(in crate::onnx) const FLOAT16: i32 = 10;
    pub(in crate::onnx) const DOUBLE: i32 = 11;
    pub(in crate::onnx) const BFLOAT16: i32 = 16;
}
use data_type::{BFLOAT16, DOUBLE, FLOAT, FLOAT16, INT8, INT32, INT64, UINT8};

/// `TensorProto.DataLocation.EXTERNAL`
const EXTERNAL: i32 = 1;

/// A constant of floats.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Floats {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// Reads elements; keeps the files opened for external data.
pub(super) struct Tensors {
    /// The folder of the model; `None` when it came from memory.
    folder: Option<PathBuf>,
    files: RefCell<BTreeMap<String, SharedBytes>>,
}

impl Tensors {
    /// For a model whose external data lies in `folder`.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_path_buf), files: RefCell::default() }
    }

    /// The elements of a tensor of floats of any width, as f32.
    pub(super) fn floats(&self, tensor: &TensorProto) -> Result<Floats> {
        let read = || {
            let (dims, count) = dims(tensor)?;
            let values = match tensor.data_type {
                FLOAT if !tensor.float_data.is_empty() => tensor.float_data.clone(),
                FLOAT => self.raw(tensor, count, f32::from_le_bytes)?,
                DOUBLE if !tensor.double_data.is_empty() => {
                    tensor.double_data.iter().map(|&v| v as f32).collect()
                }
                DOUBLE => self.raw(tensor, count, |b| f64::from_le_bytes(b) as f32)?,
                FLOAT16 if !tensor.int32_data.is_empty() => {
                    tensor.int32_data.iter().map(|&v| f16::from_bits(v as u16).to_f32()).collect()
                }
                FLOAT16 => self.raw(tensor, count, |b| f16::from_le_bytes(b).to_f32())?,
                BFLOAT16 if !tensor.int32_data.is_empty() => {
                    tensor.int32_data.iter().map(|&v| bf16::from_bits(v as u16).to_f32()).collect()
                }
                BFLOAT16 => self.raw(tensor, count, |b| bf16::from_le_bytes(b).to_f32())?,
                other => return Err(not(other, "floats")),
            };
            Ok(Floats { values: counted(values, count)?, dims })
        };
        read().map_err(|e: Error| e.in_file(&format!("tensor {:?}", tensor.name)))
    }

    /// The elements of a tensor of integers.
    pub(super) fn ints(&self, tensor: &TensorProto) -> Result<Vec<i64>> {
        let read = || {
            let (_, count) = dims(tensor)?;
            let values = match tensor.data_type {
                INT64 if !tensor.int64_data.is_empty() => tensor.int64_data.clone(),
                INT64 => self.raw(tensor, count, i64::from_le_bytes)?,
                INT32 if !tensor.int32_data.is_empty() => {
                    tensor.int32_data.iter().map(|&v| i64::from(v)).collect()
                }
                INT32 => self.raw(tensor, count, |b| i64::from(i32::from_le_bytes(b)))?,
                other => return Err(not(other, "integers")),
            };
            counted(values, count)
        };
        read().map_err(|e: Error| e.in_file(&format!("tensor {:?}", tensor.name)))
    }

    /// The elements of a tensor of integers of 8 or 32 bits.
    pub(super) fn small_ints(&self, tensor: &TensorProto) -> Result<Vec<i32>> {
        let read = || {
            let (_, count) = dims(tensor)?;
            let values = match tensor.data_type {
                INT8 | UINT8 | INT32 if !tensor.int32_data.is_empty() => tensor.int32_data.clone(),
                INT8 => self.raw(tensor, count, |b| i32::from(i8::from_le_bytes(b)))?,
                UINT8 => self.raw(tensor, count, |b| i32::from(u8::from_le_bytes(b)))?,
                INT32 => self.raw(tensor, count, i32::from_le_bytes)?,
                other => return Err(not(other, "integers of 8 or 32 bits")),
            };
            counted(values, count)
        };
        read().map_err(|e: Error| e.in_file(&format!("tensor {:?}", tensor.name)))
    }

    /// Decodes `count` elements of `N` bytes; nothing is allocated before the length is checked.
    fn raw<const N: usize, T>(
        &self,
        tensor: &TensorProto,
        count: usize,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let shared;
        let bytes: Cow<'_, [u8]> = if tensor.data_location == EXTERNAL {
            let place = Place::of(tensor)?;
            shared = self.external(&place.location)?;
            place.slice((*shared).as_ref())?.into()
        } else {
            (&tensor.raw_data[..]).into()
        };
        let (elements, rest) = bytes.as_chunks::<N>();
        if elements.len() != count || !rest.is_empty() {
            return Err(fault(format!(
                "its shape asks for {count} elements of {N} bytes, {} bytes are there: the file \
                 is cut short or was edited",
                bytes.len()
            )));
        }
        Ok(elements.iter().map(|&b| read(b)).collect())
    }

    /// A file beside the model.
    fn external(&self, location: &str) -> Result<SharedBytes> {
        if let Some(bytes) = self.files.borrow().get(location) {
            return Ok(bytes.clone());
        }
        let folder = self.folder.as_ref().ok_or_else(|| {
            fault(format!("is in another file, {location:?}: open the model from its folder"))
        })?;
        let path = folder.join(location);
        let inside = !location.is_empty()
            && Path::new(location).components().all(|c| matches!(c, Component::Normal(_)));
        // A link may lead out of the folder as well as a path.
        let resolved = |p: &Path| {
            p.canonicalize().map_err(|e| {
                Error::new(ErrorKind::Io, "", format!("{}: cannot be read: {e}", p.display()))
            })
        };
        if !inside || !resolved(&path)?.starts_with(resolved(folder)?) {
            return Err(fault(format!(
                "is said to be in {location:?}: external data must lie in the model's own folder"
            )));
        }
        let bytes = file::open(&path)?;
        self.files.borrow_mut().insert(location.into(), bytes.clone());
        Ok(bytes)
    }
}

/// Where external data lies.
struct Place {
    location: String,
    offset: usize,
    length: Option<usize>,
}

impl Place {
    fn of(tensor: &TensorProto) -> Result<Self> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str())
        };
        let size = |key: &str| {
            let parse = |text: &str| {
                text.parse::<usize>()
                    .map_err(|_| fault(format!("external data with {key} {text:?}")))
            };
            entry(key).map(parse).transpose()
        };
        Ok(Self {
            location: entry("location").unwrap_or_default().into(),
            offset: size("offset")?.unwrap_or(0),
            length: size("length")?,
        })
    }

    fn slice<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let rest = bytes.get(self.offset..);
        let part = match self.length {
            Some(length) => rest.and_then(|rest| rest.get(..length)),
            None => rest,
        };
        part.ok_or_else(|| {
            fault(format!(
                "should be in {:?} from byte {}, which has only {} bytes: copy the whole file \
                 beside the model",
                self.location,
                self.offset,
                bytes.len()
            ))
        })
    }
}

/// The dimensions and their product.
fn dims(tensor: &TensorProto) -> Result<(Vec<usize>, usize)> {
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let count = dims.as_ref().and_then(|d| d.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)));
    match (dims, count) {
        (Some(dims), Some(count)) => Ok((dims, count)),
        _ => Err(fault(format!("has the impossible shape {:?}", tensor.dims))),
    }
}

fn counted<T>(values: Vec<T>, count: usize) -> Result<Vec<T>> {
    if values.len() == count {
        return Ok(values);
    }
    let found = values.len();
    Err(fault(format!(
        "its shape asks for {count} elements, {found} are there: the file was edited"
    )))
}

fn not(data_type: i32, wanted: &str) -> Error {
    fault(format!("has elements of ONNX's type {data_type} where {wanted} are needed"))
}
