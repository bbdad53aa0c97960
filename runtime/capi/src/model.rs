//! Models: read, validated, shared by any number of sessions.
#![allow(unsafe_code, reason = "pointers come from C; each function says what they must be")]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;

use crate::status::{Status, call, input};

/// A model that was validated. Any number of threads may use it at the same time.
pub struct Model {
    pub(crate) inner: hipflask_runtime::Model,
    labels: Vec<CString>,
}

impl Model {
    fn new(inner: hipflask_runtime::Model) -> Self {
        let label = |label: &String| CString::new(label.replace('\0', "?")).unwrap_or_default();
        Self { labels: inner.card().labels.iter().map(label).collect(), inner }
    }
}

/// Opens a model file, which is mapped into memory and must not change while the model is used.
///
/// # Safety
///
/// `path` is a string that ends with a zero byte, and `model` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_model_open(
    path: *const c_char,
    model: *mut *mut Model,
) -> Status {
    call(|| {
        // SAFETY: the caller's promise about `path`.
        let path = unsafe { text(path) }.ok_or_else(|| input("path", "is no UTF-8 string"))?;
        let opened = hipflask_runtime::Model::open(path)?;
        // SAFETY: the caller's promise about `model`.
        unsafe { give("model", model, Model::new(opened)) }
    })
}

/// Reads a model from a copy of `bytes`.
///
/// # Safety
///
/// `bytes` are `len` that may be read, and `model` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_model_from_bytes(
    bytes: *const u8,
    len: usize,
    model: *mut *mut Model,
) -> Status {
    call(|| {
        if bytes.is_null() {
            return Err(input("bytes", "is a null pointer"));
        }
        // SAFETY: the caller's promise about `bytes`.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
        let file = ModelFile::from_bytes(bytes, &LoadLimits::default())?;
        let read = hipflask_runtime::Model::new(file)?;
        // SAFETY: the caller's promise about `model`.
        unsafe { give("model", model, Model::new(read)) }
    })
}

/// Gives a model back; null is nothing. Sessions made of it go on.
///
/// # Safety
///
/// `model` came from this library and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_model_free(model: *mut Model) {
    if !model.is_null() {
        // SAFETY: the caller's promise: made by `give`, given back once.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// How many class names the model has.
///
/// # Safety
///
/// `model` came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_model_labels(model: *const Model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |model| model.labels.len())
}

/// A class name in UTF-8; null where there is none. Valid as long as the model.
///
/// # Safety
///
/// `model` came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_model_label(model: *const Model, index: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let model = unsafe { model.as_ref() };
    let label = model.and_then(|model| model.labels.get(index));
    label.map_or(ptr::null(), |label| label.as_ptr())
}

/// The text of a C string; none of a null pointer or what is not UTF-8.
///
/// # Safety
///
/// `text` is null or ends with a zero byte, and lives as long as the result is used.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// Puts `value` on the heap and its address into `to`.
///
/// # Safety
///
/// `to` is null or may be written.
pub(crate) unsafe fn give<T>(
    name: &str,
    to: *mut *mut T,
    value: T,
) -> Result<(), hipflask_runtime::Error> {
    if to.is_null() {
        return Err(input(name, "is a null pointer"));
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(Box::into_raw(Box::new(value))) };
    Ok(())
}
