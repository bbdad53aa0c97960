//! Arrays of numpy as inputs, seen where they lie.

use hipflask_runtime::{DType, Error, Port, View};
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::input;

/// An array that nobody writes through numpy's Rust bindings while it is held.
pub(crate) enum Held<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    I8(PyReadonlyArrayDyn<'py, i8>),
}

impl<'py> Held<'py> {
    /// `value` as the input `port`: an array of its type and shape, with or without the batch of 1,
    /// in C order. Whatever would need a copy is refused.
    pub(crate) fn new(value: &Bound<'py, PyAny>, port: &Port) -> Result<Self, Error> {
        let at = || format!("input {:?}", port.name);
        let array = value.cast::<PyUntypedArray>().map_err(|_| {
            let kind = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            input(at(), format!("is of type {kind}, a numpy.ndarray is wanted"))
        })?;
        let shape = array.shape();
        if shape != &port.shape[..] && shape != &port.shape[1..] {
            let what = format!("has shape {shape:?}, the model takes {:?}", &port.shape[..]);
            return Err(input(at(), what));
        }
        if !array.is_c_contiguous() {
            let what =
                "is not contiguous in memory: give numpy.ascontiguousarray(x), which copies it";
            return Err(input(at(), what));
        }
        let held = match port.dtype {
            DType::I8 => value.extract().map(Self::I8).ok(),
            _ => value.extract().map(Self::F32).ok(),
        };
        held.ok_or_else(|| {
            let wanted = if port.dtype == DType::I8 { "int8" } else { "float32" };
            let what = format!(
                "has numbers of type {}, the model takes {wanted}: give x.astype(numpy.{wanted}), which \
                 copies it",
                array.dtype()
            );
            input(at(), what)
        })
    }

    /// The numbers where they are.
    pub(crate) fn view(&self) -> Result<View<'_>, Error> {
        let view = match self {
            Self::F32(array) => array.as_slice().map(View::F32),
            Self::I8(array) => array.as_slice().map(View::I8),
        };
        view.map_err(|_| {
            input("input", "is not aligned in memory: give numpy.ascontiguousarray(x)")
        })
    }
}

/// An output of its own.
pub(crate) enum Taken {
    F32(Vec<f32>),
    I8(Vec<i8>),
}

impl From<View<'_>> for Taken {
    fn from(view: View<'_>) -> Self {
        match view {
            View::F32(values) => Self::F32(values.to_vec()),
            View::I8(values) => Self::I8(values.to_vec()),
        }
    }
}
