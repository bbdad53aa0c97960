//! Writing the container: the same model is always the same bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::container::PADDING;
use crate::dtype::{DType, Shape};
use crate::tensor::Tensor;

/// The data section, and large weights of device files, begin at multiples of this.
const ALIGNMENT: usize = 64;

/// Weights of at least this many bytes are worth a padding tensor to be used in place.
const WORTH_ALIGNING: usize = 4096;

/// Order of dtypes in the file: wider ones first, so that each tensor is aligned to its elements.
const DTYPES: [DType; 5] = [DType::F32, DType::I32, DType::F16, DType::I8, DType::U8];

/// Lays out one file: `metadata` under the key `hipflask`, tensors in the given order within a
/// dtype. `in_place` aligns large weights for a device that maps the file.
pub(super) fn write(metadata: &str, tensors: &[(String, &Tensor)], in_place: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    let mut entry = |name: &str, dtype: DType, shape: &Shape, from: usize, to: usize| {
        entries.push(format!(
            "{}:{{\"dtype\":\"{dtype}\",\"shape\":{},\"data_offsets\":[{from},{to}]}}",
            json(name),
            json(shape),
        ));
    };
    let mut paddings = 0;
    for dtype in DTYPES {
        for (name, tensor) in tensors.iter().filter(|(_, t)| t.dtype() == dtype) {
            let bytes = tensor.bytes();
            let gap = data.len().next_multiple_of(ALIGNMENT) - data.len();
            if in_place && gap > 0 && bytes.len() >= WORTH_ALIGNING {
                let from = data.len();
                data.resize(from + gap, 0);
                entry(&format!("{PADDING}{paddings}"), DType::I8, &[gap].into(), from, from + gap);
                paddings += 1;
            }
            let from = data.len();
            data.extend_from_slice(bytes);
            entry(name, dtype, tensor.shape(), from, data.len());
        }
    }
    let mut header = format!("{{\"__metadata__\":{{\"hipflask\":{}}}", json(metadata));
    for entry in &entries {
        header.push(',');
        header.push_str(entry);
    }
    header.push('}');
    while (8 + header.len()) % ALIGNMENT != 0 {
        header.push(' ');
    }
    let mut file = Vec::with_capacity(8 + header.len() + data.len());
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings and numbers always serialize")
}
