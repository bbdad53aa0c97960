//! The Python module `hipflask`: a thin layer over the runtime's models and sessions (`docs/python.md`).
#![deny(unsafe_code)]

mod error;
mod input;
mod model;

use pyo3::prelude::*;

/// Runs hipflask's int8, f16 and f32 students.
#[pymodule]
mod hipflask {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use crate::error::Error;
    #[pymodule_export]
    use crate::model::{Model, Port};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
